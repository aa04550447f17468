"""The processes: the command line, gunicorn, the scheduler, the doctor, the demo."""
