"""Draw docs/tutorial.png: run the code of the tutorial, and keep its picture.

Usage: python docs/pictures/tutorial.py
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]


def main():
    """Run in a folder that is thrown away."""
    code = re.findall(r"^```python\n(.*?)^```", (DOCS / "tutorial.md").read_text(), re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        exec("\n".join(code), {})
        shutil.copy("tutorial.png", DOCS)
        os.chdir(DOCS)


if __name__ == "__main__":
    main()
