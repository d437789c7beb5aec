"""What the bundle leaves out, each with its reason. The self-test of the frozen program is the proof.

Used by bitconverter.spec (on the system that freezes) and by the tests.
"""

import re

# Python modules that some package could import and we never reach.
MODULES = {
    "tkinter": "another toolkit",
    "unittest": "tests",
    "test": "tests",
    "pydoc_data": "help texts of the Python prompt",
    "lib2to3": "a converter of Python 2 sources",
    "setuptools": "installs packages",
    "pkg_resources": "installs packages",
    "pip": "installs packages",
    "numpy.f2py": "compiles Fortran",
    "numpy.testing": "tests",
    "numpy.distutils": "compiles extensions",
    "huggingface_hub": "downloads; the program never does",
    "requests": "downloads",
    "tqdm": "progress bars of a terminal",
    "torch": "an optional extra of some packages",
    "IPython": "an optional extra of some packages",
    "PIL": "an optional extra of some packages",
    "lxml.objectify": "python-docx reads with lxml.etree",
    "lxml.html": "HTML; see lxml.objectify",
    "lxml.isoschematron": "checks XML against rules; see lxml.objectify",
    "lxml.sax": "see lxml.objectify",
    "lxml.builder": "writes XML; see lxml.objectify",
    "PySide6.QtQml": "QML: our window is made of widgets",
    "PySide6.QtQuick": "QML",
    "PySide6.QtOpenGL": "no OpenGL",
    "PySide6.QtOpenGLWidgets": "no OpenGL",
    "PySide6.QtSql": "Python's sqlite3 does that",
    "PySide6.QtTest": "tests",
    "PySide6.QtDesigner": "a tool of developers",
    "PySide6.QtUiTools": "reads Designer's files; our windows are code",
    "PySide6.QtHelp": "a help viewer",
    "PySide6.QtXml": "XML; Qt's SVG does not need it",
    "PySide6.QtConcurrent": "QThread is enough",
    "PySide6.QtPrintSupport": "no printing",
    "PySide6.QtDBus": "no Linux desktop services from Python",
}

# Files, by a pattern on their place in the bundle (with / between folders).
FILES = {
    r"opengl32sw\.dll$": "20 MB of software OpenGL; widgets are painted without OpenGL",
    r"(^|/)(lib)?Qt6?(Qml|Quick|QmlModels|QmlMeta|QmlWorkerScript)[^/]*$": "QML",
    r"(^|/)(lib)?Qt6?OpenGL(Widgets)?\b[^/]*$": "OpenGL widgets",
    r"(^|/)(lib)?Qt6?Pdf[^/]*$": "shows PDF pages; text is read by pypdfium2",
    r"(^|/)(lib)?Qt6?VirtualKeyboard[^/]*$": "QML's keyboard",
    r"(^|/)(lib)?Qt6?(Sql|Test|Designer|Help|UiTools|PrintSupport|Concurrent|Xml)[^/]*$": "see the modules",
    r"(^|/)(lib)?Qt6?(WlShellIntegration|WaylandEglClientHwIntegration|WaylandCompositor|Eglfs)[^/]*$":
        "Wayland with OpenGL; wl_shm is enough for widgets",
    r"/qml/": "QML",
    r"/plugins/(tls|networkinformation)/": "no network",
    r"/plugins/(sqldrivers|printsupport|qmltooling|qmllint|designer)/": "see the modules",
    r"/plugins/(egldeviceintegrations|wayland-graphics-integration-[a-z]+|xcbglintegrations)/": "OpenGL",
    r"/plugins/generic/": "touch screens without a window system",
    r"/plugins/platforms/(lib)?q(direct2d|minimal|eglfs|linuxfb|minimalegl|vnc|vkkhrdisplay|wayland-egl)\b[^/]*$":
        "ways to draw that no desktop needs",
    r"/plugins/imageformats/(lib)?q(gif|icns|ico|jpeg|pdf|tga|tiff|wbmp|webp)\.[a-z]+$":
        "kinds of pictures that we never show: ours are SVG, PNG is in Qt itself, and answers load no pictures",
    r"/translations/(?!qtbase_(ja|en)\.qm$)": "Qt's words in other languages than ours",
    r"(^|/)(ucrtbase|api-ms-win-[a-z0-9-]+)\.dll$": "part of Windows 10",
    r"^/MSVCP140\.dll$": "of the PC that builds, not of a package; Qt's packages and numpy have their own beside them",
    r"(^|/)(bcryptprimitives|icuuc)\.dll$": "part of Windows 10",
    r"/docx/templates/": "of documents that are written; we only read",
    r"/lxml/(html|isoschematron)/": "see the modules",
    r"/numpy/(.*/)?tests/": "tests",
    r"\.dist-info/(RECORD|INSTALLER|WHEEL|REQUESTED|direct_url\.json)$": "pip's notes; the licences are kept",
}  # fmt: skip
_FILES = re.compile("|".join(f"(?:{pattern})" for pattern in FILES), re.IGNORECASE)


def left_out(name: str) -> bool:
    """Whether the file of that place in the bundle is not shipped."""
    return _FILES.search("/" + name.replace("\\", "/")) is not None
