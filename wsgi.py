"""The application for gunicorn. gevent patches first, so that modules imported later use its non-blocking sockets and locks."""

import gc
import sys

if __name__ == "__main__":
    sys.exit("mirror-stage: this file is for gunicorn; run mirror-stage serve")

gc.disable()  # all that is made here stays, so looking for garbage in it only slows the start

from gevent import monkey

monkey.patch_all()

from mirror_stage.app import create_app

app = create_app()

gc.freeze()  # later collections need not look at it either
gc.enable()
