"""Stands in for Celery: waits, and as the engine worker has two helpers, one of which left the process group."""

import os
import subprocess
import sys
import time
from pathlib import Path

if any(argument.startswith("engine.") for argument in sys.argv):
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    helpers = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
    Path(os.environ["ATRIUM_HOME"], "helpers").write_text(" ".join(map(str, helpers)))
time.sleep(600)
