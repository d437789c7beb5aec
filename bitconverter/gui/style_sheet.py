"""The Qt style sheet, written from the colours of a theme."""

from __future__ import annotations

import re

from bitconverter.gui.tokens import Colors, Radius, Type

LINE = 21  # pixels of a line of letters, at a text size of 100 %
STEP = 26  # pixels of the round number of a step, at a text size of 100 %


def style_sheet(c: Colors, scale: float = 1.0) -> str:
    """The sheet for the whole application, every size of letters times `scale`. Widgets say what they are by
    the properties `role` (labels, frames) and `kind` (buttons)."""
    sheet = _base(c, scale) + _buttons(c, scale) + _fields(c) + _parts(c) + _lists(c)
    return re.sub(r"([\d.]+)pt\b", lambda size: f"{float(size[1]) * scale:.4g}pt", sheet)


def _base(c: Colors, scale: float) -> str:
    step = round(STEP * scale)
    return f"""
QWidget {{ color: {c.text}; }}
QMainWindow, QDialog, QWidget#page {{ background: {c.window}; }}
QScrollArea, QScrollArea > QWidget > QWidget#scrolled {{ background: transparent; border: 0; }}
QToolTip {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.border}; padding: 5px 8px; }}
QLabel {{ background: transparent; }}
QLabel[role="title"] {{ font-size: {Type.TITLE}pt; font-weight: 600; }}
QLabel[role="heading"] {{ font-size: {Type.HEADING}pt; font-weight: 600; }}
QLabel[role="number"] {{ font-size: {Type.NUMBER}pt; font-weight: 600; }}
QLabel[role="muted"] {{ color: {c.muted}; }}
QLabel[role="small"] {{ color: {c.muted}; font-size: {Type.SMALL}pt; }}
QLabel[role="error"] {{ color: {c.error}; }}
QLabel[role="accent"] {{ color: {c.accent}; font-weight: 600; }}
QLabel[role="step"] {{ background: {c.accent_soft}; color: {c.accent}; border-radius: {step // 2}px; font-weight: 600;
  min-width: {step}px; max-width: {step}px; min-height: {step}px; max-height: {step}px; }}
QLabel[role="badge"] {{ background: {c.raised}; color: {c.muted}; border-radius: 9px; padding: 3px 10px;
  font-size: {Type.SMALL}pt; }}
QFrame[role="card"] {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: {Radius.CARD}px; }}
QFrame[role="drop"] {{ background: {c.surface}; border: 2px dashed {c.strong_border}; border-radius: {Radius.DROP}px; }}
QFrame[role="drop"][hot="true"] {{ background: {c.accent_soft}; border-color: {c.accent}; }}
QFrame[role="error-box"] {{ background: {c.error_soft}; border: 1px solid {c.error}; border-radius: 10px; }}
QFrame[role="info-box"] {{ background: {c.accent_soft}; border: 1px solid {c.accent}; border-radius: 10px; }}
QFrame[role="warning-box"] {{ background: {c.warning_soft}; border: 1px solid {c.warning};
  border-radius: 10px; }}
QFrame[role="line"] {{ background: {c.border}; border: 0; max-height: 1px; min-height: 1px; }}
QMenu {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: 8px; padding: 5px; }}
QMenu::item {{ padding: 7px 22px 7px 12px; border-radius: 6px; }}
QMenu::item:selected {{ background: {c.accent_soft}; }}
QMenu::item:disabled {{ color: {c.muted}; }}
QMenu::separator {{ height: 1px; background: {c.border}; margin: 5px 8px; }}
QScrollBar:vertical {{ background: transparent; width: 11px; margin: 2px; }}
QScrollBar::handle:vertical {{ background: {c.strong_border}; border-radius: 3px; min-height: 36px; }}
QScrollBar::handle:vertical:hover {{ background: {c.muted}; }}
QScrollBar:horizontal {{ background: transparent; height: 11px; margin: 2px; }}
QScrollBar::handle:horizontal {{ background: {c.strong_border}; border-radius: 3px; min-width: 36px; }}
QScrollBar::add-line, QScrollBar::sub-line, QScrollBar::add-page, QScrollBar::sub-page
  {{ background: transparent; border: 0; width: 0; height: 0; }}
"""


def _buttons(c: Colors, scale: float) -> str:
    line = round(LINE * scale)  # a least height set here is all that a layout keeps for a button
    return f"""
QPushButton {{ background: {c.surface}; border: 1px solid {c.strong_border}; border-radius: {Radius.BUTTON}px;
  padding: 7px 16px; min-height: {line}px; }}
QPushButton:hover {{ background: {c.raised}; }}
QPushButton:pressed {{ background: {c.track}; }}
QPushButton:focus {{ border-color: {c.accent}; }}
QPushButton:disabled {{ color: {c.muted}; background: {c.raised}; border-color: {c.border}; }}
QPushButton[kind="primary"] {{ background: {c.accent}; border-color: {c.accent}; color: {c.accent_text};
  font-weight: 600; padding: 8px 22px; }}
QPushButton[kind="primary"]:hover {{ background: {c.accent_hover}; border-color: {c.accent_hover}; }}
QPushButton[kind="primary"]:focus {{ border: 2px solid {c.text}; padding: 7px 21px; }}
QPushButton[kind="primary"]:disabled {{ background: {c.raised}; border-color: {c.border}; color: {c.muted}; }}
QPushButton[kind="quiet"] {{ background: transparent; border-color: transparent; color: {c.accent};
  padding: 6px 10px; }}
QPushButton[kind="quiet"]:hover {{ background: {c.accent_soft}; }}
QPushButton[kind="quiet"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="quiet"]:disabled {{ color: {c.muted}; }}
QPushButton[kind="row"] {{ text-align: left; background: transparent; border-color: transparent;
  padding: 9px 12px; }}
QPushButton[kind="row"]:hover {{ background: {c.raised}; }}
QPushButton[kind="row"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="model"] {{ font-size: {Type.HEADING}pt; font-weight: 600; background: transparent;
  border-color: transparent; padding: 6px 10px; text-align: left; }}
QPushButton[kind="model"]:hover {{ background: {c.raised}; }}
QPushButton[kind="model"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="card"] {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: {Radius.CARD}px;
  padding: 0; text-align: left; }}
QPushButton[kind="card"]:hover {{ border-color: {c.strong_border}; }}
QPushButton[kind="card"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="card"]:checked {{ background: {c.accent_soft}; border: 2px solid {c.accent}; }}
QPushButton[kind="card"]:disabled:!checked {{ background: {c.window}; }}
QPushButton[kind="mood"] {{ background: transparent; border-color: transparent; color: {c.muted}; border-radius: 7px;
  padding: 3px 9px; font-size: 9pt; }}
QPushButton[kind="mood"]:hover {{ background: {c.raised}; }}
QPushButton[kind="mood"]:checked {{ background: {c.accent_soft}; color: {c.accent}; }}
QPushButton[kind="mood"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="meter"] {{ background: transparent; border-color: transparent; color: {c.muted};
  padding: 3px 6px; font-size: 9pt; }}
QPushButton[kind="meter"]:hover {{ background: {c.raised}; }}
QPushButton[kind="meter"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="meter"][level="near"] {{ color: {c.warning}; font-weight: 600; }}
QPushButton[kind="meter"][level="over"] {{ color: {c.error}; font-weight: 600; }}
QPushButton[kind="link"] {{ background: transparent; border-color: transparent; color: {c.accent};
  padding: 0 6px; min-height: 0; }}
QPushButton[kind="link"]:hover {{ background: {c.accent_soft}; }}
QPushButton[kind="link"]:focus {{ border-color: {c.accent}; }}
QPushButton[kind="chip"] {{ border-radius: 15px; padding: 5px 16px; background: transparent; }}
QPushButton[kind="chip"]:hover {{ background: {c.raised}; }}
QPushButton[kind="chip"]:checked {{ background: {c.accent_soft}; border-color: {c.accent}; color: {c.accent}; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 7px; padding: 5px; }}
QToolButton:hover {{ background: {c.raised}; }}
QToolButton:focus {{ border-color: {c.accent}; }}
QToolButton:checked {{ background: {c.accent_soft}; }}
QToolButton[kind="send"] {{ background: {c.accent}; border-radius: 17px; padding: 6px; }}
QToolButton[kind="send"]:hover {{ background: {c.accent_hover}; }}
QToolButton[kind="send"]:focus {{ border: 2px solid {c.text}; padding: 5px; }}
QToolButton[kind="send"]:disabled {{ background: {c.raised}; }}
QToolButton[kind="rail"] {{ border-radius: 10px; padding: 6px 2px 4px 2px; color: {c.muted};
  font-size: 9.5pt; }}
QToolButton[kind="rail"]:hover {{ background: {c.track}; color: {c.text}; }}
QToolButton[kind="rail"]:checked {{ background: {c.accent_soft}; color: {c.accent}; font-weight: 600; }}
QToolButton[kind="rail"]:focus {{ border-color: {c.accent}; }}
"""


def _fields(c: Colors) -> str:
    return f"""
QLineEdit, QPlainTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {{ background: {c.surface};
  border: 1px solid {c.strong_border}; border-radius: {Radius.FIELD}px; padding: 5px 8px;
  selection-background-color: {c.accent}; selection-color: {c.accent_text}; }}
QLineEdit, QPlainTextEdit {{ placeholder-text-color: {c.muted}; }}
QLineEdit:focus, QPlainTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus
  {{ border-color: {c.accent}; }}
QFrame#drawer QSpinBox, QFrame#drawer QDoubleSpinBox {{ padding: 2px 7px; }}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled
  {{ color: {c.muted}; background: {c.raised}; border-color: {c.border}; }}
QLineEdit[readOnly="true"] {{ background: {c.raised}; border-color: {c.border}; }}
QComboBox::drop-down {{ border: 0; width: 26px; }}
QComboBox::down-arrow {{ image: url(icons:arrow.svg); width: 14px; height: 14px; }}
QComboBox QAbstractItemView {{ background: {c.surface}; border: 1px solid {c.border}; padding: 4px;
  selection-background-color: {c.accent_soft}; selection-color: {c.text}; outline: 0; }}
QCheckBox {{ spacing: 8px; background: transparent; }}
QCheckBox::indicator {{ width: 16px; height: 16px; border: 1px solid {c.strong_border}; border-radius: 4px;
  background: {c.surface}; }}
QCheckBox::indicator:checked {{ background: {c.accent}; border-color: {c.accent};
  image: url(icons:{"tick-dark" if c.dark else "tick-light"}.svg); }}
QCheckBox::indicator:focus {{ border-color: {c.accent}; }}
QSlider {{ background: transparent; }}
QSlider::groove:horizontal {{ height: 4px; background: {c.track}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {c.accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ background: {c.accent}; width: 14px; height: 14px; margin: -5px 0;
  border-radius: 7px; }}
QSlider::handle:horizontal:focus {{ background: {c.text}; }}
QProgressBar {{ background: {c.track}; border: 0; border-radius: 4px; min-height: 8px; max-height: 8px; }}
QProgressBar::chunk {{ background: {c.accent}; border-radius: 4px; }}
"""


def _parts(c: Colors) -> str:
    return f"""
QFrame#rail {{ background: {c.rail}; border: 0; border-right: 1px solid {c.border}; }}
QFrame#top-bar {{ background: {c.window}; border: 0; border-bottom: 1px solid {c.border}; }}
QFrame#footer {{ background: {c.window}; border: 0; border-top: 1px solid {c.border}; }}
QFrame#drawer {{ background: {c.surface}; border: 0; border-left: 1px solid {c.border}; }}
QFrame#history {{ background: {c.rail}; border: 0; border-right: 1px solid {c.border}; }}
QFrame#history QListView {{ background: transparent; border: 0; padding: 0; outline: 0; }}
QFrame[role="chip"] {{ background: {c.raised}; border: 1px solid {c.border}; border-radius: 8px; }}
QProgressBar[level="near"]::chunk {{ background: {c.warning}; }}
QProgressBar[level="over"]::chunk {{ background: {c.error}; }}
QFrame#composer {{ background: {c.surface}; border: 1px solid {c.strong_border}; border-radius: 16px; }}
QFrame#composer[focused="true"] {{ border-color: {c.accent}; }}
QPlainTextEdit#message {{ border: 0; background: transparent; padding: 2px; font-size: 11pt; }}
QPlainTextEdit#console {{ background: {c.code}; border-color: {c.border}; }}
QFrame#bubble {{ background: {c.user}; border: 0; border-radius: 14px; }}
QTextBrowser {{ background: transparent; border: 0; selection-background-color: {c.accent};
  selection-color: {c.accent_text}; }}
QFrame#toast {{ background: {c.text}; border-radius: 10px; }}
QFrame#toast QLabel {{ color: {c.window}; }}
QFrame#toast QPushButton {{ background: transparent; border: 0; color: {c.accent_soft}; font-weight: 600;
  text-decoration: underline; padding: 2px 6px; }}
QFrame#toast QPushButton:focus {{ border: 1px solid {c.window}; }}
"""


def _lists(c: Colors) -> str:
    return f"""
QListView, QTreeView {{ background: {c.surface}; border: 1px solid {c.border}; border-radius: {Radius.CARD}px;
  padding: 6px; outline: 0; }}
QListView[role="bare"], QTreeView[role="bare"] {{ background: transparent; border: 0; padding: 0; }}
QListView:focus, QTreeView:focus {{ border-color: {c.accent}; }}
QListView::item, QTreeView::item {{ border-radius: {Radius.FIELD}px; padding: 6px 8px; color: {c.text}; }}
QListView::item:selected, QTreeView::item:selected {{ background: {c.accent_soft}; color: {c.text}; }}
QListView::item:hover:!selected {{ background: {c.raised}; }}
QTreeView {{ show-decoration-selected: 0; }}
QHeaderView {{ background: transparent; border: 0; }}
QHeaderView::section {{ background: transparent; color: {c.muted}; border: 0; border-bottom: 1px solid {c.border};
  padding: 4px 10px 4px 13px; }}
QTreeView::branch, QTreeView::branch:selected {{ background: transparent; }}
QFrame#status {{ background: {c.rail}; border: 0; border-top: 1px solid {c.border}; }}
QFrame#status QProgressBar {{ min-height: 6px; max-height: 6px; border-radius: 3px; }}
QFrame#palette {{ background: {c.surface}; border: 1px solid {c.strong_border}; border-radius: {Radius.CARD}px; }}
QFrame#drop-overlay {{ background: {c.accent_soft}; border: 3px dashed {c.accent}; border-radius: {Radius.DROP}px; }}
QLabel[role="good"] {{ background: {c.ok_soft}; color: {c.ok}; border-radius: 9px; padding: 3px 10px;
  font-size: {Type.SMALL}pt; font-weight: 600; }}
QLabel[role="careful"] {{ background: {c.warning_soft}; color: {c.warning}; border-radius: 9px;
  padding: 3px 10px; font-size: {Type.SMALL}pt; font-weight: 600; }}
QLabel[role="bad"] {{ background: {c.error_soft}; color: {c.error}; border-radius: 9px; padding: 3px 10px;
  font-size: {Type.SMALL}pt; font-weight: 600; }}
QLabel[role="key"] {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.strong_border};
  border-radius: 5px; padding: 2px 8px; font-size: {Type.SMALL}pt; }}
QLabel[role="strong"] {{ font-weight: 600; }}
QFrame[role="missing"] {{ background: {c.raised}; border: 1px dashed {c.strong_border};
  border-radius: {Radius.CARD}px; }}
"""
