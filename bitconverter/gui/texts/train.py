# ruff: noqa: E501 - sentences are kept in one piece
"""Sentences about training."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "note-row-rejected": ("{path}, line {line}: {reason}; {fix}.", "{path} {line} 行目: {reason}。{fix}。"),
    "note-file-read": ("{path}: {used} of {rows} rows are used.", "{path}: {rows} 行のうち {used} 行を使います。"),
    "note-files-left-out": (
        "{count} file of another kind is left out.",
        "{count} files of other kinds are left out.",
        "種類の違う {count} 個のファイルは使いません。",
    ),
    "note-lesson-no-end-token": (
        "This model has no token that ends a text: it will not learn to stop.",
        "このモデルには文の終わりのトークンがないため、答えを終えることは学習できません。",
    ),
    "note-train-began": (
        "Training {parameters} gains on {windows} windows ({targets} learned tokens); {checks} windows are held back.",
        "{windows} 個の区間（学習するトークン {targets} 個）で {parameters} 個のゲインを学習します。{checks} 個の区間は確認用に取っておきます。",
    ),
    "note-resumed-training": ("Going on after step {step}.", "{step} 歩目の続きから始めます。"),
    "note-train-slower": (
        "The loss jumped at step {step}: back to the best state, at half the rate.",
        "{step} 歩目で損失が跳ね上がったため、いちばん良かった状態に戻し、学習率を半分にしました。",
    ),
    "note-train-no-gain": (
        "Nothing helped: the model was best as it was.",
        "学習しても良くなりませんでした。元のままがいちばん良い結果です。",
    ),
}  # fmt: skip
