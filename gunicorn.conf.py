"""gunicorn's settings, for `mirror-stage serve` and for plain `gunicorn wsgi:app`; the hooks are in serving.py."""

import os

from mirror_stage.core import logs
from mirror_stage.runtime import serving

_settings = serving.settings_or_exit()
logs.configure(_settings.log_level)

bind = serving.listen_address(_settings)
umask = 0o777 & ~_settings.socket_mode  # of a Unix socket; every other file is made under 077
worker_class = "gevent"
workers = 1  # the twin lives in one process
worker_connections = 10_000  # long polls and idle websockets count
preload_app = False  # what starts threads has to start after the fork
worker_tmp_dir = (
    "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
)  # the heartbeat file; a slow disk must not kill
control_socket_disable = True

timeout = 60  # seconds in which a worker that hangs is replaced
keepalive = 75  # seconds; longer than the 60 that proxies keep a connection
graceful_timeout = 20  # seconds for answers under way; sockets, polls and idle connections are closed at once

forwarded_allow_ips = ""  # whose X-Forwarded-* headers count is decided in walls.py alone,
forwarder_headers, secure_scheme_headers = (
    "",
    {},
)  # and nobody names the path or the scheme: gunicorn trusts Unix sockets
limit_request_fields = 64  # of 8 kB each at most; browsers send about twenty
loglevel = _settings.log_level
logger_class = serving.JsonLogger
accesslog = None

on_starting = serving.on_starting
when_ready = serving.when_ready
post_fork = serving.post_fork
post_worker_init = serving.post_worker_init
worker_exit = serving.worker_exit
