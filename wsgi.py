"""The door for gunicorn: patch first, so that everything imported afterwards waits without blocking the others."""

from gevent import monkey

monkey.patch_all()

from mirror_stage.app import create_app

app = create_app()
