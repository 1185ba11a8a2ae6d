"""Makes the generator of runs importable from the tests of the report."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
