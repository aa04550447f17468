"""The application for gunicorn. gevent patches first, so that modules imported later use its non-blocking sockets and locks."""

from gevent import monkey

monkey.patch_all()

from mirror_stage.app import create_app

app = create_app()
