"""A Python for documents: reads examples from stdin, answers with what went wrong.

Run by `document.Python`, with the folder of the document as working directory.
"""

from __future__ import annotations

import doctest
import json
import os
import sys
from typing import Any


def main() -> None:
    sys.path[0] = os.getcwd()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the examples print at the level of the system goes elsewhere
    names: dict[str, Any] = {"__name__": "__main__"}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_ONLY_FIRST_FAILURE
    for line in sys.stdin:
        text, number = json.loads(line)
        complaints: list[str] = []
        examples = doctest.DocTestParser().get_doctest(text, names, "document", None, number)
        runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
        runner.run(examples, out=complaints.append, clear_globs=False)
        names = examples.globs
        answers.write(json.dumps("".join(complaints)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
