"""``python -m mm_kptm``, also for ``torchrun -m`` and ``accelerate launch -m``: the command line."""

import sys

from mm_kptm.cli import main

sys.exit(main())
