"""The pieces of the installer that need neither Windows nor wine; installer/build.py test does the rest."""

import hashlib
import json
import re
import struct
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath

import binaries
import devenv
import icon
import licenses
import lock
import moments
import ours
import psutil
import pytest
import self_test_report
import trim
import windows_build
import windows_engine
import windows_python
from packaging.requirements import Requirement
from windows_programs import make_program

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("system", ["windows", "linux"])
def test_the_lock_holds_every_dependency_in_an_allowed_version(system):
    """After a change in pyproject.toml: python installer/build.py lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = lock.installed(system)
    for text in project["dependencies"]:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(
            {"sys_platform": {"windows": "win32"}.get(system, system)}
        ):
            continue
        version = locked.get(lock.canonical(requirement.name), "none")
        assert version != "none", f"{text} is not locked: run python installer/build.py lock"
        assert requirement.specifier.contains(version), f"{text}: locked is {version}"
    assert not set(lock.LEFT_OUT) & set(locked)


@pytest.mark.parametrize(
    "path", sorted({*lock.LOCKS.iterdir()} - {binaries.LIST}), ids=lambda path: path.name
)
def test_every_locked_file_has_its_sha256(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+ --hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize(
    "name",
    [
        "PySide6/opengl32sw.dll", "PySide6/Qt6Quick.dll", "PySide6\\Qt6Qml.dll", "PySide6/Qt/lib/libQt6Pdf.so.6",
        "PySide6/plugins/tls/qschannelbackend.dll", "PySide6/translations/qtbase_de.qm", "ucrtbase.dll",
        "PySide6/plugins/imageformats/qgif.dll", "PySide6/plugins/imageformats/qico.dll",
        "PySide6/Qt/plugins/imageformats/libqjpeg.so",
        "PySide6/translations/qt_ja.qm", "bcryptprimitives.dll", "PySide6/plugins/platforms/qminimal.dll",
    ],
)  # fmt: skip
def test_what_we_do_not_use_is_left_out(name):
    assert trim.left_out(name)


@pytest.mark.parametrize(
    "name",
    [
        "PySide6/Qt6Core.dll", "PySide6/Qt6Svg.dll", "PySide6/Qt6Network.dll", "PySide6/plugins/platforms/qwindows.dll",
        "PySide6/plugins/platforms/qoffscreen.dll", "PySide6/translations/qtbase_ja.qm", "python311.dll",
        "PySide6/plugins/styles/qmodernwindowsstyle.dll", "numpy.libs/libscipy_openblas64_.dll",
        "bitconverter/engine/libbitconverter.dll", "bitconverter/engine/bitconverter_cuda.dll",
        "PySide6/plugins/imageformats/qsvg.dll", "vcruntime140.dll",
    ],
)  # fmt: skip
def test_what_we_use_stays(name):
    assert not trim.left_out(name)


def test_everything_left_out_has_a_reason():
    assert all(
        len(reason) > 2 for reason in [*trim.MODULES.values(), *trim.FILES.values(), *lock.LEFT_OUT.values()]
    )


def test_the_icon_holds_a_picture_of_every_size(tmp_path, qapp):
    path = tmp_path / "x.ico"
    icon.write_icon(path)
    data = path.read_bytes()
    assert struct.unpack_from("<HHH", data) == (0, 1, len(icon.SIZES))
    for number, size in enumerate(icon.SIZES):
        edge, _, _, _, _, bits, length, offset = struct.unpack_from("<BBBBHHII", data, 6 + 16 * number)
        picture = data[offset : offset + length]
        assert (edge or 256, bits) == (size, 32)
        assert picture[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", picture[16:24]) == (size, size)
    assert offset + length == len(data)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A folder as PyInstaller leaves it."""
    monkeypatch.setattr(windows_python, "shim_hashes", lambda _: {hashlib.sha256(b"repaired").hexdigest()})
    folder = tmp_path / "BitConverter"
    engine = [f"_internal/bitconverter/engine/{name}" for name in windows_engine.LIBRARIES]
    names = ("BitConverter.exe", "_internal/licenses/README.txt", "_internal/python311.dll", *engine)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        exports = ["bc_backend_table"] if "cuda" in name else ["bc_open"]
        (folder / name).write_bytes(make_program(["KERNEL32.dll"], exports, name.encode()))
    monkeypatch.setattr(binaries, "LIST", tmp_path / "list.txt")
    lines = [f"{name}  {digest}  x==1.0" for name, digest in binaries._digests(folder)]
    binaries.LIST.write_text("# a list\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_sound_program_may_be_packed(program):
    windows_build.check_program(program)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("_internal/anything.dll", b"repaired"),  # one of installer/shims/, under whatever name
        ("_internal/anything.dll", b"MZ\x90 Wine builtin DLL"),
        ("_internal/ucrtbase.dll", b"MZ"),
        ("_internal/PySide6/opengl32sw.dll", b"MZ"),
    ],
)
def test_wines_files_and_what_is_left_out_may_not_be_packed(name, content, program):
    (program / name).parent.mkdir(parents=True, exist_ok=True)
    (program / name).write_bytes(content)
    with pytest.raises(devenv.SetupError, match=re.escape(Path(name).name)):
        windows_build.check_program(program)


def test_no_program_without_licences(program):
    (program / "_internal/licenses/README.txt").unlink()
    with pytest.raises(devenv.SetupError, match="licences"):
        windows_build.check_program(program)


@pytest.mark.parametrize("name", windows_engine.LIBRARIES)
def test_no_program_without_the_engine_and_its_backend(name, program):
    (program / "_internal/bitconverter/engine" / name).unlink()
    with pytest.raises(devenv.SetupError, match=f"^{re.escape(name)} is not in the bundle"):
        windows_build.check_program(program)


@pytest.mark.parametrize("needed", ["libgcc_s_seh-1.dll", "libwinpthread-1.dll", "VCRUNTIME140.dll"])
@pytest.mark.parametrize("name", windows_engine.LIBRARIES)
def test_no_engine_that_needs_what_windows_lacks(name, needed, program):
    path = program / "_internal/bitconverter/engine" / name
    path.write_bytes(make_program(["KERNEL32.dll", needed], ["bc_backend_table"]))
    with pytest.raises(
        devenv.SetupError, match=f"^{re.escape(name)} needs {re.escape(needed)}, which Windows"
    ):
        windows_build.check_program(program)


def test_no_wheel_with_such_an_engine(tmp_path):
    """The wheel is built apart, on Windows without the cross compiler's toolchain file."""
    wheel = tmp_path / "bitconverter-1.0-py3-none-win_amd64.whl"

    def write(*needed):
        with zipfile.ZipFile(wheel, "w") as packed:
            packed.writestr("bitconverter/engine/_abi.py", "")
            for name in windows_engine.LIBRARIES:
                data = make_program(["KERNEL32.dll", *needed], ["bc_backend_table"])
                packed.writestr(f"bitconverter/engine/{name}", data)

    write()
    windows_engine.need_sound_wheel(wheel)
    write("libgcc_s_seh-1.dll")
    with pytest.raises(devenv.SetupError, match=r"needs libgcc_s_seh-1\.dll, which Windows"):
        windows_engine.need_sound_wheel(wheel)


def test_the_c_run_time_of_windows_10_may_be_needed(program):
    """The gcc of MSYS2's UCRT64, with which the engine is made on Windows itself, asks for these."""
    needed = [
        "KERNEL32.dll",
        "api-ms-win-crt-heap-l1-1-0.dll",
        "api-ms-win-crt-stdio-l1-1-0.dll",
        "msvcrt.dll",
    ]
    path = program / "_internal/bitconverter/engine/libbitconverter.dll"
    path.write_bytes(make_program(needed, ["bc_open"]))
    windows_build.check_program(program)


def test_a_backend_shows_its_table_alone(program):
    path = program / "_internal/bitconverter/engine/bitconverter_cuda.dll"
    path.write_bytes(make_program(["KERNEL32.dll"], ["bc_backend_table", "inner"]))
    with pytest.raises(devenv.SetupError, match="should export bc_backend_table alone"):
        windows_build.check_program(program)


def test_a_binary_that_nobody_has_looked_at_may_not_be_packed(program):
    (program / "_internal" / "new.pyd").write_bytes(make_program())
    with pytest.raises(devenv.SetupError, match=r"^_internal/new\.pyd is not in list\.txt"):
        windows_build.check_program(program)


@pytest.mark.parametrize("name", ["_internal/python311.dll", "BitConverter.exe"])
def test_a_binary_that_has_changed_may_not_be_packed(name, program):
    (program / name).write_bytes(make_program(code=b"changed"))
    with pytest.raises(devenv.SetupError, match=f"^{re.escape(name)} is not the file of x==1.0"):
        windows_build.check_program(program)


def test_a_starter_may_get_our_icon_and_version(program):
    with (program / "BitConverter.exe").open("ab") as file:
        file.write(b"resources and the program behind the code")
    windows_build.check_program(program)


def test_a_listed_binary_must_be_there(program):
    (program / "_internal" / "python311.dll").unlink()
    with pytest.raises(devenv.SetupError, match=r"^_internal/python311\.dll: in list\.txt, but not in"):
        windows_build.check_program(program)


def test_every_listed_binary_comes_from_a_pinned_package():
    """After a change of the locks: python installer/build.py windows, which refuses; then binaries."""
    pinned = {
        line.split(" ")[0]
        for name in ("windows.txt", "windows-build.txt")
        for line in (lock.LOCKS / name).read_text(encoding="utf-8").splitlines()
    }
    listed = binaries.listed().values()
    assert len(listed) > 80
    for binary in listed:
        assert re.fullmatch("(sha256|code):[0-9a-f]{64}", binary.digest) or binary.origin == binaries.OURS
        if "==" in binary.origin:
            assert binary.origin in pinned, binary


def test_the_table_in_the_docs_names_every_binary():
    """docs/RELEASING.md: a row names files (with * for some letters) and, beside them, where they come from."""
    text = (ROOT / "docs" / "RELEASING.md").read_text(encoding="utf-8")
    table = text.partition("## Where each binary")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    for binary in binaries.listed().values():
        package = re.split("[= ]", binary.origin)[0]
        assert any(
            package in row[1] and any(fnmatch(binary.name, name) for name in re.findall("`([^`]+)`", row[0]))
            for row in rows
        ), binary


def _site(folder, *names, text="the licence"):
    """Packages as they lie in site-packages; lxml's and numpy's texts name what they hold, as the real ones do."""
    parts = [part for part in licenses.PARTS if "/" in part.text]
    for part in parts:
        path = folder / f"{part.text.split('/')[0]}-1.0.dist-info" / part.text.partition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(other.name for other in parts if other.text == part.text), encoding="utf-8")
    for name in names:
        info = folder / f"{name}-1.0.dist-info" / "licenses"
        info.mkdir(parents=True, exist_ok=True)
        (info.parent / "METADATA").write_text("License-Expression: MIT\n", encoding="utf-8")
        if text:
            (info / "LICENSE").write_text(text, encoding="utf-8")
    return folder


def _packages(tmp_path, monkeypatch):
    packages = {"lxml": "1.0", "numpy": "1.0", "some-package": "1.0", "tokenizers": "0.1"}
    monkeypatch.setattr(lock, "installed", lambda _: packages)
    python = tmp_path / "python.txt"
    python.write_text("Python's licence", encoding="utf-8")
    names = ("lxml", "numpy", "some_package", "tokenizers", "pyinstaller")
    return python, _site(tmp_path / "site", *names)


def test_licences_are_gathered_and_a_package_without_one_is_refused(tmp_path, monkeypatch):
    python, site = _packages(tmp_path, monkeypatch)
    licenses.gather(site, python, "windows", tmp_path / "out")
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert {
        "Python.txt",
        "BitConverter.txt",
        "Microsoft.txt",
        "README.txt",
        "tokenizers/Apache-2.0.txt",
    } <= names
    assert (tmp_path / "out/some-package/licenses/LICENSE").read_text(encoding="utf-8") == "the licence"
    assert "some-package 1.0: MIT" in (tmp_path / "out/README.txt").read_text(encoding="utf-8")
    (site / "some_package-1.0.dist-info/licenses/LICENSE").unlink()
    with pytest.raises(devenv.SetupError, match=r"some-package 1\.0 brings no licence"):
        licenses.gather(site, python, "windows", tmp_path / "out")


INSIDE = {  # who lies inside of what, as their own builds say
    "lxml": {"libxml2", "libxslt", "libexslt", "libiconv", "zlib"},
    "tokenizers": {"Oniguruma", "standard library"},
    "Python": {"OpenSSL", "SQLite", "libffi", "bzip2", "liblzma", "expat", "libmpdec", "zlib"},
    "numpy": {"OpenBLAS", "LAPACK", "libgfortran"},
    "PyYAML": {"LibYAML"},
    "charset-normalizer": {"mypyc"},
    "the engine": {"libgcc", "mingw-w64"},
    "the installer": {"NSIS", "mingw-w64", "zlib"},
    "Qt": {"freetype", "harfbuzz", "libpng", "pcre2", "zlib"},
}


@pytest.mark.parametrize("holder", INSIDE)
def test_what_lies_inside_of_a_library_has_its_licence(holder, tmp_path, monkeypatch):
    python, site = _packages(tmp_path, monkeypatch)
    licenses.gather(site, python, "windows", tmp_path / "out")
    named = {part.name for part in licenses.PARTS if holder in part.holder.replace(" (", ", ").split(", ")}
    assert INSIDE[holder] <= named
    listing = (tmp_path / "out" / "README.txt").read_text(encoding="utf-8")
    for part in licenses.PARTS:
        assert f"{part.name}, in {part.holder}: {part.text}\n" in listing
        assert part.name in (tmp_path / "out" / part.text).read_text(encoding="utf-8")


def test_the_lesser_licence_of_iconv_is_whole():
    text = (licenses.TEXTS / "LGPL-2.1.txt").read_text(encoding="utf-8")
    assert "GNU LESSER GENERAL PUBLIC LICENSE\n                       Version 2.1" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_a_part_whose_text_is_not_there_stops_the_build(tmp_path, monkeypatch):
    python, site = _packages(tmp_path, monkeypatch)
    (site / "lxml-1.0.dist-info/licenses/LICENSES.txt").write_text("libxml2 and libxslt", encoding="utf-8")
    with pytest.raises(devenv.SetupError, match="no licence of libexslt, which is in lxml"):
        licenses.gather(site, python, "windows", tmp_path / "out")


@pytest.mark.parametrize(("version", "known"), [("1.0.228", False), ("1.0.229", True)])
def test_a_crate_that_is_not_in_our_text_stops_the_build(version, known, tmp_path, monkeypatch):
    python, site = _packages(tmp_path, monkeypatch)
    folder = site / "tokenizers-1.0.dist-info" / "sboms"
    folder.mkdir()
    crate = {"name": "serde", "version": version, "purl": f"pkg:cargo/serde@{version}"}
    (folder / "x.cyclonedx.json").write_text(json.dumps({"components": [crate]}), encoding="utf-8")
    if known:
        licenses.gather(site, python, "windows", tmp_path / "out")
    else:
        with pytest.raises(devenv.SetupError, match=re.escape(f"serde {version}: add its licence")):
            licenses.gather(site, python, "windows", tmp_path / "out")


def test_a_windows_python_that_cannot_be_had_is_told_loudly(monkeypatch):
    def no_index(*_, **__):
        raise devenv.SetupError("no such package")

    monkeypatch.setattr(devenv, "run", no_index)
    with pytest.raises(devenv.SetupError, match="Without a Windows Python nothing can be frozen"):
        windows_python.fetch_python()


def test_no_wine_is_told_loudly(monkeypatch):
    import wine

    monkeypatch.setattr(wine, "LOADERS", ("no-such-wine",))
    with pytest.raises(devenv.SetupError, match="wine is not installed"):
        wine.loader()


def test_the_program_is_one_folder_and_nothing_is_packed():
    """What virus scanners dislike: an exe that unpacks itself or is compressed, without a version or a maker."""
    spec = (ROOT / "installer" / "bitconverter.spec").read_text(encoding="utf-8")
    assert (
        spec.count('"exclude_binaries": True') == 1 and spec.count("**common") == 2
    )  # one folder, both exes
    assert "COLLECT(window, console" in spec and "upx=True" not in spec and '"upx": True' not in spec
    assert '"upx": False' in spec and "upx=False" in spec
    for key in ("CompanyName", "ProductName", "FileVersion", "FileDescription"):
        assert f'"{key}":' in spec


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (PureWindowsPath("C:/a b/BitConverter"), r"-DFILES=C:\a b\BitConverter\*"),
        (PurePosixPath("/a b/BitConverter"), "-DFILES=/a b/BitConverter/*"),
    ],
)
def test_makensis_is_told_the_files_with_the_slash_of_its_system(source, told):
    assert told in windows_build.defines("1.0.0", Path("setup.exe"), False, source)
    script = windows_build.SCRIPT.read_text(encoding="utf-8")
    assert [line.split()[-1] for line in script.splitlines() if line.strip().startswith("File ")] == [
        '"${FILES}"'
    ]


def test_a_new_wheel_leaves_the_installer_beside_it(tmp_path, monkeypatch):
    """The quick tier makes the wheel for Windows where the release lies."""
    names = ("BitConverter-1.0.0-setup.exe", "made-with.txt", "bitconverter-0.9-py3-none-win_amd64.whl")
    for name in names:
        (tmp_path / name).touch()
    made = []

    def pip(words, **_):
        if "wheel" in words:
            made.append(sorted(path.name for path in tmp_path.iterdir()))
            (tmp_path / "bitconverter-1.0-py3-none-win_amd64.whl").touch()

    monkeypatch.setattr(windows_engine, "DIST", tmp_path)
    monkeypatch.setattr(windows_engine, "run", pip)
    monkeypatch.setattr(windows_engine, "need_sound_wheel", lambda _: None)
    assert windows_engine.wheel().name == "bitconverter-1.0-py3-none-win_amd64.whl"
    assert windows_engine.native_wheel(tmp_path).name == "bitconverter-1.0-py3-none-win_amd64.whl"
    assert {*names[:2]} <= {*made[0]} and names[2] not in made[0]


@pytest.mark.parametrize(
    ("text", "is_ours"),
    [
        (
            r"[HKEY_CURRENT_USER\Software\QtProject\x] \"Directory\"=\"C:/bitconverter-scratch-ab12/files\"",
            True,
        ),
        (r"[HKEY_CURRENT_USER\Software\QtProject\OrganizationDefaults\FileDialog] \"history\"", True),
        (r"[HKEY_CURRENT_USER\Software\Classes\.soul]", True),
        (r"[HKEY_CURRENT_USER\Software\Classes\.U32\OpenWithProgids]", True),
        (r"[HKEY_CURRENT_USER\Software\Microsoft\Edge] \"soul\"", False),
        (PureWindowsPath("C:/Users/x/AppData/Local/BITCONVERTER/settings.json"), True),
        (PureWindowsPath("C:/Users/x/AppData/Local/Microsoft/Edge/cache"), False),
    ],
)
def test_what_on_a_desktop_in_use_can_be_ours(text, is_ours):
    assert ours.can_be(text) == is_ours


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("bitconverter-scratch-ab12/files", True), ("_MEI12345/python311.dll", True), ("nsa1B2C.tmp", True),
        ("~nsu.tmp/Au_.exe", True), ("msedge_1234/x", False), ("chocolatey", False), ("tmp3f9a.tmp", False),
    ],
)  # fmt: skip
def test_what_in_a_temporary_folder_can_be_ours(path, is_ours):
    assert ours.can_be_temporary(PureWindowsPath(path)) == is_ours


def test_the_moments_at_which_a_start_is_killed(tmp_path, monkeypatch):
    """As far as a process has come, by what it has written and mapped."""
    log, model = tmp_path / "native-crash.log", tmp_path / "小さい é"
    mapped = []

    class Process:
        def __init__(self, number):
            if number != 7:
                raise psutil.NoSuchProcess(number)

        def memory_maps(self):
            return mapped

    def reached(number=7):
        return [moment for moment in moments.MOMENTS if moments.reached(moment, number, log, model)]

    def maps(*parts):
        mapped.append(type("Map", (), {"path": str(tmp_path.joinpath(*parts))}))

    monkeypatch.setattr(psutil, "Process", Process)
    maps("other", "model.safetensors")
    assert reached() == [moments.AT_ONCE]
    log.touch()
    maps("chats.sqlite3-shm")
    assert reached() == [moments.AT_ONCE, moments.LOGGING, moments.SHOWN]
    maps(model.name, "model.safetensors")
    assert reached() == list(moments.MOMENTS)
    assert reached(8) == [moments.AT_ONCE, moments.LOGGING]


def test_a_self_test_that_did_not_pass_is_refused(tmp_path):
    out = tmp_path / "report.json"
    good = {"versions": {"ok": True, "frozen": True}, "engine": {"ok": True}}

    def write(parts):
        out.write_text(json.dumps({"parts": parts}), encoding="utf-8")
        out.with_suffix(".png").write_bytes(bytes(20_000))

    def refused(match, status=0, frozen=True):
        with pytest.raises(devenv.SetupError, match=match):
            self_test_report.parts(out, status, "", frozen=frozen)

    refused("wrote nothing")
    write(good)
    assert self_test_report.parts(out, 0, "", frozen=True) == good
    refused("another program", frozen=False)
    refused(r"self-test \(3\)", status=3)
    write({**good, "engine": {"ok": False, "error": "no engine"}})
    refused("no engine")
    write(good)
    out.with_suffix(".png").write_bytes(b"")
    refused("not painted")


def test_the_workflow_keeps_the_installer_whatever_its_trial_says():
    import yaml

    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "windows.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["windows"]["steps"]
    runs = [step.get("run", step.get("uses", "")).split("@")[0] for step in steps]
    tried, kept, timed = (
        next(number for number, run in enumerate(runs) if run.startswith(words))
        for words in (
            "python installer/build.py check",
            "actions/upload-artifact",
            "python installer/build.py start",
        )
    )
    assert tried < kept < timed and steps[kept]["if"] == "always()"
