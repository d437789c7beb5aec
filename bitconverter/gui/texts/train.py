# ruff: noqa: E501 - sentences are kept in one piece
"""Sentences about training."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "note-train-began": (
        "Training {parameters} parameters on {windows} windows ({targets} learned tokens); {checks} windows are held back.",
        "{windows} 個の区間（学習するトークン {targets} 個）で {parameters} 個のパラメーターを学習します。{checks} 個の区間は確認用に取っておきます。",
    ),
    "note-resumed-training": ("Going on after step {step}.", "{step} 歩目の続きから始めます。"),
    "note-train-slower": (
        "The loss jumped at step {step}: back to the best state, at half the rate.",
        "{step} 歩目で損失が跳ね上がったため、いちばん良かった状態に戻し、学習率を半分にしました。",
    ),
    "note-checkpoint-bad": (
        "A damaged checkpoint was set aside as {name}; the newest good one is used.",
        "壊れたチェックポイントを {name} という名前で残し、壊れていない中でいちばん新しいものを使います。",
    ),
    "note-train-plateau": (
        "No gain in the last {checks} checks: ended after step {step}.",
        "この {checks} 回の確認で良くならなかったため、{step} 歩目で終えました。",
    ),
    "note-train-no-gain": (
        "Nothing helped: the model was best as it was.",
        "学習しても良くなりませんでした。元のままがいちばん良い結果です。",
    ),
}  # fmt: skip
