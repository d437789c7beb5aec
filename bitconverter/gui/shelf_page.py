"""The shelf: the models of this PC where they lie, what was made of them, and what can be done with each."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QModelIndex, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QKeySequence, QShortcut

from bitconverter.gui.activity import Activity
from bitconverter.gui.choose import choose_folder
from bitconverter.gui.job_worker import JobRunner
from bitconverter.gui.messages import ErrorText, error_text, tr
from bitconverter.gui.page import Shell
from bitconverter.gui.shelf_layout import ShelfLayout
from bitconverter.gui.shelf_model import (
    ENTRY,
    ShelfMemory,
    Stamp,
    facts,
    fit_of,
    fit_text,
    memory_file,
    places_to_scan,
    stamp_of,
    with_missing,
)
from bitconverter.gui.source_card import start_folder
from bitconverter.gui.trash import Trashed, foreign_in, move_to_trash, take_back
from bitconverter.jobs.errors import FormatError, UserError
from bitconverter.jobs.job import Event, Failed, Finished
from bitconverter.jobs.shelf import (
    CONVERTED,
    GGUF,
    ORIGINAL,
    SOUL,
    UNFINISHED,
    ScanJob,
    ShelfEntry,
    at_work,
)
from bitconverter.settings import storable

POSSIBLE = {
    ORIGINAL: ("chat", "convert", "folder", "delete"),
    GGUF: ("chat", "convert", "folder", "delete"),
    CONVERTED: ("chat", "verify", "folder", "delete"),
    UNFINISHED: ("resume", "folder", "delete"),
    SOUL: ("chat", "folder", "delete"),
}
IN_QUEUE = ("show", "folder")  # of an unfinished one that the queue holds
WITH_DAMAGE = ("verify", "folder", "delete")  # what is still possible with a damaged one
MAKERS = ("convert", "train")  # the kinds of jobs whose results stand on the shelf


def _possible(entry: ShelfEntry) -> tuple[str, ...]:
    if entry.work:
        return IN_QUEUE
    actions = POSSIBLE[entry.kind] if entry.there else ()
    return tuple(action for action in actions if not entry.damaged or action in WITH_DAMAGE)


def _is_damage(error: BaseException) -> bool:
    """Not that it could not be looked at."""
    if isinstance(error, FormatError):
        return True
    return isinstance(error, UserError) and error.code == "verify-failed"


class ShelfPage(ShelfLayout):
    """Scans when it is shown; `entries` is what it knows."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._memory = ShelfMemory(memory_file(shell.settings))
        self.entries = self._memory.load()
        self._activity: Activity | None = None
        # what Verify has against models as they were then
        self._found: dict[str, tuple[Stamp, ErrorText]] = {}
        self._verifying: tuple[str, Stamp] = ("", ())
        self._scanner, self._verifier = JobRunner(self), JobRunner(self)
        self._again = QTimer(self, singleShot=True, interval=0)
        self._connect()
        self.retranslate()

    def _connect(self) -> None:
        self._scanner.happened.connect(self._on_scan)
        self._verifier.happened.connect(self._on_verify)
        for runner in (self._scanner, self._verifier):
            runner.idle.connect(self.shell.idle)
        self._again.timeout.connect(self.scan)
        self.shell.activities.turned.connect(self._job_turned)
        self.search.textChanged.connect(lambda _: self._show())
        self.order.currentIndexChanged.connect(self._order_changed)
        self.menu.aboutToShow.connect(self._fill_menu)
        for button in (self.add_button, self.first_button):
            button.clicked.connect(self._ask_folder)
        self.leftovers.discard_all.connect(self._discard_all)
        self.tree.selectionModel().currentChanged.connect(lambda *_: self._show_details())
        self.tree.activated.connect(self._activated)
        remove = QShortcut(QKeySequence(QKeySequence.StandardKey.Delete), self.tree)
        remove.setContext(Qt.ShortcutContext.WidgetShortcut)  # only with the keyboard in the list
        remove.activated.connect(lambda: self.act("delete"))
        for action, button in self.buttons.items():
            button.clicked.connect(lambda _=False, action=action: self.act(action))

    # ---- what is there

    def scan(self) -> None:
        """Look at the folders again."""
        self._scanner.start(ScanJob(folders=places_to_scan(self.settings, self.entries)))

    def _job_turned(self, job: Activity) -> None:
        """What has begun, stopped or ended may have made a model or a soul: look when the events of now are done."""
        if job.kind in MAKERS and not self.isHidden():
            self._again.start()

    def _on_scan(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._forget_refusal()
            self.show_entries(with_missing(event.result, self.entries))
            self._memory.save(self.entries)
        elif isinstance(event, Failed):
            self.notice.show_error(error_text(event.error))

    def _forget_refusal(self) -> None:
        """What Verify has said of files that are others now, or gone."""
        for path, (stamp, problem) in self._found.items():
            if stamp != stamp_of(path) and self.notice.shows(problem.now()):
                self.notice.clear()

    def show_entries(self, entries: list[ShelfEntry]) -> None:
        """Show `entries`, and keep what is chosen."""
        self.entries = entries
        self._show()

    def _show(self) -> None:
        chosen = self.current()
        known = [self._as_known(entry) for entry in self.entries]
        self.model.show(known, self.search.text(), self.order.currentData())
        self.tree.expandAll()
        self.empty.setVisible(not self.entries)
        found = self.model.rowCount() > 0
        self.tree.setVisible(found)
        self.nothing.setVisible(bool(self.entries) and not found)
        self.finder.setVisible(bool(self.entries))
        self.leftovers.show_entries(known)
        if chosen is not None:
            self.choose(chosen.path)
        self._show_details()

    def choose(self, path: str) -> bool:
        """Mark the model `path`; False when it is not shown."""
        for index in self.model.indexes():
            if index.data(ENTRY).path == path:
                self.tree.setCurrentIndex(index)
                return True
        return False

    def current(self) -> ShelfEntry | None:
        """The model that is marked."""
        index = self.tree.currentIndex()
        return index.data(ENTRY) if index.isValid() else None

    def _show_details(self) -> None:
        entry = self.current()
        self.details.setVisible(entry is not None)
        if entry is None:
            return
        self.name.set_text(entry.name)
        self.place.set_text(entry.path)
        self.facts.setText("  ·  ".join(facts(entry)))
        found = fit_of(entry)
        self.verdict.setText(fit_text(found) if found else "")
        self.verdict.setVisible(found is not None)
        possible = _possible(entry)
        for action, button in self.buttons.items():
            button.setVisible(action in possible)
        self.texts.set(
            self.buttons["delete"].setText, "discard" if entry.kind == UNFINISHED else "delete-model"
        )
        self.buttons["verify"].setEnabled(not self._verifier.busy)

    # ---- what can be done

    def _activated(self, _index: QModelIndex) -> None:
        entry = self.current()
        if entry is not None and entry.there:
            self.act(IN_QUEUE[0] if entry.work else POSSIBLE[entry.kind][0])

    def act(self, action: str) -> None:
        """Do `action` with the marked model, if that is possible with it."""
        entry = self.current()
        if entry is None or action not in _possible(entry):
            return
        if action == "chat" and entry.kind == SOUL:
            self.shell.soul_wanted.emit(entry.path, "")
        elif action == "chat":
            self.shell.model_wanted.emit(entry.path)
        elif action == "convert":
            self.shell.source_wanted.emit(entry.path)
        elif action == "resume":
            self.shell.resume_wanted.emit(entry.path.removesuffix(".partial"))
        elif action == "show":
            self.shell.page_wanted.emit("convert")
        elif action == "verify":
            self._verify(entry)
        elif action == "folder":
            folder = entry.path if os.path.isdir(entry.path) else os.path.dirname(entry.path)
            QDesktopServices.openUrl(QUrl.fromLocalFile(folder))
        elif action == "delete":
            self._delete(entry)

    def _verify(self, entry: ShelfEntry) -> None:
        if self._verifier.busy:
            return
        self.notice.clear()
        self._activity = self.shell.activities.begin("verify", entry.name, "shelf", entry.path)
        self._verifying = entry.path, stamp_of(entry.path)
        from bitconverter.jobs.inspect import InspectJob

        self._verifier.start(InspectJob(model=entry.path, verify=True))
        self._show_details()

    def _on_verify(self, event: Event) -> None:
        assert self._activity is not None
        self.shell.activities.happened(self._activity, event)
        path, stamp = self._verifying
        if isinstance(event, Finished):
            self._found.pop(path, None)
            self.shell.say(partial(tr, "verified", name=self._activity.name, count=event.result.verified))
        elif isinstance(event, Failed):
            problem = error_text(event.error)
            self.notice.show_error(problem)
            if _is_damage(event.error):
                self._found[path] = stamp, problem
        self._show()

    def _as_known(self, entry: ShelfEntry) -> ShelfEntry:
        """With what the window knows of it."""
        activity = self.shell.queued.get(entry.path) if entry.kind == UNFINISHED else None
        if activity is not None:
            return replace(entry, work=activity.state.value, damaged="")
        if entry.kind == UNFINISHED and entry.there:
            from bitconverter.gui.unfinished import why_not_resumed

            why = why_not_resumed(entry.path.removesuffix(".partial"))
            return replace(entry, damaged=why, code="") if why else entry
        return self._as_verified(entry)

    def _as_verified(self, entry: ShelfEntry) -> ShelfEntry:
        """What Verify has found holds as long as the files are the same."""
        stamp, problem = self._found.get(entry.path, ((), None))
        if problem is None or not entry.there or stamp != stamp_of(entry.path):
            return entry
        return replace(entry, damaged=problem.now().text, code="")

    def _delete(self, entry: ShelfEntry) -> None:
        self.notice.clear()
        if entry.kind == UNFINISHED and self._at_work(entry):
            self.notice.show_warning(tr("delete-at-work-title"), tr("delete-at-work", name=entry.name))
            return
        foreign = foreign_in(entry.path)
        if foreign is not None:
            key = "delete-foreign" if foreign else "delete-root"
            self.notice.show_warning(
                tr("delete-refused-title"), tr(key, path=entry.path, file=os.path.basename(foreign))
            )
            return
        thing = move_to_trash(entry.path)
        if thing is None:
            self.notice.show_warning(tr("delete-failed-title"), tr("delete-failed", path=entry.path))
            return
        self.show_entries([each for each in self.entries if each.path != entry.path])
        self._memory.save(self.entries)
        text = partial(tr, "deleted", name=entry.name)
        if thing.can_return:
            self.shell.say(text, "undo", lambda: self._undo_delete(thing, entry))
        else:
            self.shell.say(text)

    def _at_work(self, entry: ShelfEntry) -> bool:
        """Of this window's queue, or of another program."""
        return entry.path in self.shell.queued or at_work(entry.path)

    def _discard_all(self) -> None:
        """What was begun and not finished goes to the bin, but for what is at work or holds more than that."""
        self.notice.clear()
        gone: list[tuple[Trashed, ShelfEntry]] = []
        for entry in self.leftovers.entries:
            if self._at_work(entry) or foreign_in(entry.path) is not None:
                continue
            thing = move_to_trash(entry.path)
            if thing is not None:
                gone.append((thing, entry))
        if len(gone) < len(self.leftovers.entries):
            self.notice.show_warning(tr("discard-rest-title"), tr("discard-rest"))
        paths = {entry.path for _, entry in gone}
        self.show_entries([entry for entry in self.entries if entry.path not in paths])
        self._memory.save(self.entries)
        if not gone:
            return

        def undo() -> None:
            for thing, entry in gone:
                self._undo_delete(thing, entry)

        can_return = all(thing.can_return for thing, _ in gone)
        self.shell.say(partial(tr, "discarded-all", count=len(gone)), "undo" if can_return else "", undo)

    def _undo_delete(self, thing: Trashed, entry: ShelfEntry) -> None:
        if not take_back(thing):
            self.notice.show_warning(tr("undo-failed-title"), tr("undo-failed", path=entry.path))
            return
        self.show_entries([*self.entries, entry])
        self.choose(entry.path)
        self.scan()

    # ---- folders

    def add_folder(self, path: str) -> None:
        """Show what is in the folder `path` (or the model `path`), from now on."""
        path = str(Path(path))
        folders = self.settings["model_folders"]
        if path not in folders and storable(path):
            self.settings["model_folders"] = [*folders, path]
            self.shell.to_save.emit()
        self.scan()

    def remove_folder(self, path: str) -> None:
        """Show what is in it no more; the folder itself stays as it is."""
        before, entries = self.settings["model_folders"], self.entries
        self.settings["model_folders"] = [folder for folder in before if folder != path]
        self.shell.to_save.emit()
        self.show_entries(
            [e for e in self.entries if e.path != path and Path(path) not in Path(e.path).parents]
        )
        self.scan()

        def undo() -> None:
            self.settings["model_folders"] = before
            self.shell.to_save.emit()
            self.show_entries(entries)
            self.scan()

        self.shell.say(partial(tr, "folder-removed", name=Path(path).name), "undo", undo)

    def _fill_menu(self) -> None:
        self.menu.clear()
        folders = self.settings["model_folders"]
        for folder in folders:
            action = self.menu.addAction(tr("remove-folder", path=folder.replace("&", "&&")))
            action.triggered.connect(lambda _=False, folder=folder: self.remove_folder(folder))
        if not folders:
            self.menu.addAction(tr("no-folders")).setEnabled(False)
        self.menu.addSeparator()
        self.menu.addAction(tr("scan-again")).triggered.connect(self.scan)

    def _ask_folder(self) -> None:
        path = choose_folder(self, tr("add-folder"), start_folder(self.settings))
        if path:
            self.add_folder(path)

    def _order_changed(self, _index: int) -> None:
        self.settings["shelf_order"] = self.order.currentData()
        self.shell.to_save.emit()
        self._show()

    # ---- the window

    @property
    def busy(self) -> bool:
        """Whether it scans or verifies."""
        return self._scanner.busy or self._verifier.busy

    def entered(self) -> None:
        """Folders may have changed meanwhile."""
        self.scan()
        (self.tree if self.entries else self.add_button).setFocus()

    def escape(self) -> None:
        """Esc stops a verification."""
        self._verifier.cancel()

    def shut_down(self) -> None:
        """Stop both."""
        self._again.stop()
        self._scanner.drop()
        self._verifier.cancel()

    def stop_and_wait(self) -> None:
        """Stop both and wait for their threads."""
        self._again.stop()
        self._scanner.stop_and_wait()
        self._verifier.stop_and_wait()

    def retranslate(self) -> None:
        """Say everything again in the language of now."""
        super().retranslate()
        self._show()
