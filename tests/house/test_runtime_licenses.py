"""The list of the runtime's licenses names every package that the runtime installs."""

import re
import tomllib


def test_every_dependency_has_its_license_listed(repo_root):
    folder = repo_root / "packaging" / "runtime"
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(name for extra in extras for name in extra)]
    names = {re.match(r"[a-z0-9-]+", text)[0] for text in wanted} | {project["name"]}
    rows = (folder / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    listed = {row.split("|")[1].split("(")[0].strip() for row in rows if row.startswith("| ")}
    assert names <= listed, names - listed
