# ruff: noqa: E501 - sentences are kept in one piece
"""The settings."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "language": ("Language", "言語"),
    "language-auto": ("As the system", "システムに合わせる"),
    "language-en": ("English", "English"),
    "language-ja": ("日本語", "日本語"),
    "theme": ("Appearance", "外観"),
    "theme-auto": ("As the system", "システムに合わせる"),
    "theme-light": ("Light", "ライト"),
    "theme-dark": ("Dark", "ダーク"),
    "threads": ("Processor threads", "使うスレッド数"),
    "threads-auto": ("All cores", "全コア"),
    "kv-cache": ("Chat memory (KV cache)", "会話のメモリー（KVキャッシュ）"),
    "kv-f16": ("Half precision (usual)", "半精度（標準）"),
    "kv-int8": ("8 bits (half the memory)", "8ビット（メモリー半分）"),
    "kv-int4": ("4 bits (a quarter of the memory)", "4ビット（メモリー4分の1）"),
    "kv-f32": ("Full precision", "単精度"),
    "settings-later": ("Threads and chat memory apply to the next model that is opened.", "スレッド数と会話のメモリーは、次に開くモデルから使われます。"),
    "settings-place": ("Settings file: {path}", "設定ファイル: {path}"),
}  # fmt: skip
