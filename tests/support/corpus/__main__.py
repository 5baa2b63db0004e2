"""Write the corpus to the folder that is named."""

import sys
from pathlib import Path

from tests.support import corpus

corpus.write(Path(sys.argv[1]))
