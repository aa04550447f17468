"""gunicorn's settings, for `mirror-stage serve` and for plain `gunicorn wsgi:app`. The hooks are in mirror_stage/runtime/serving.py."""

import os

from mirror_stage.core import logs
from mirror_stage.runtime import serving

_settings = serving.settings_or_exit()
logs.configure(_settings.log_level)

bind = serving.listen_addresses(_settings)
umask = 0o777 & ~_settings.socket_mode  # for a Unix socket; all other files are created with the umask 077
worker_class = "gevent"
workers = 1  # the twin lives in one process
worker_connections = 10_000  # long polls and idle websockets count
preload_app = False  # threads do not survive a fork: the application must start after it
# The heartbeat file goes into memory: on a slow disk gunicorn would kill a worker that is well.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
control_socket_disable = True

timeout = 60  # seconds; then gunicorn replaces a worker that hangs
keepalive = 75  # seconds; longer than the 60 that proxies keep a connection
graceful_timeout = 20  # seconds for answers under way; serving.py closes sockets, polls and idle connections at once

# Only walls.py decides which proxies are trusted. So gunicorn takes no header from any proxy; by default it would take
# path and scheme from everybody who connects over a Unix socket.
forwarded_allow_ips = ""
forwarder_headers, secure_scheme_headers = "", {}
limit_request_fields = 64  # of 8 kB each at most; browsers send about twenty
sendfile = not _settings.has_tls  # a file goes through TLS like everything else
loglevel = _settings.log_level
logger_class = serving.JsonLogger
accesslog = None

on_starting = serving.on_starting
on_reload = serving.on_reload
nworkers_changed = serving.nworkers_changed
when_ready = serving.when_ready
post_fork = serving.post_fork
post_worker_init = serving.post_worker_init
worker_exit = serving.worker_exit
