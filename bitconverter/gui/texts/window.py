"""The window around the pages, and words that every page uses."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "app-name": ("BitConverter", "BitConverter"),
    "page-chat": ("Chat", "会話"),
    "page-convert": ("Convert", "変換"),
    "settings": ("Settings", "設定"),
    "pages": ("Pages", "画面の切り替え"),
    "closing": ("Stopping…", "停止しています…"),
    "close-title": ("A conversion is running", "変換の途中です"),
    "close-text": (
        "Stop it and close? What is finished stays, and the conversion can go on later.",
        "停止して閉じますか？ 終わった分は残り、あとで続きから再開できます。",
    ),
    "close-yes": ("Stop and close", "停止して閉じる"),
    "close-no": ("Keep converting", "変換を続ける"),
    "change": ("Change…", "変更…"),
    "stop": ("Stop", "停止"),
    "stopping": ("Stopping…", "停止しています…"),
    "copy": ("Copy", "コピー"),
    "copied": ("Copied.", "コピーしました。"),
    "copy-all": ("Copy all", "すべてコピー"),
    "copy-details": ("Copy details", "詳細をコピー"),
    "undo": ("Undo", "元に戻す"),
    "close": ("Close", "閉じる"),
    "level-ok": ("OK", "問題なし"),
    "level-warning": ("Warning", "注意"),
    "level-error": ("Error", "エラー"),
    "settings-damaged": (
        "Part of the settings file could not be used ({names}); the usual values apply there.",
        "設定ファイルの一部（{names}）を読めなかったため、そこは標準の値を使います。",
    ),
    "settings-not-saved": (
        "The settings could not be saved: {reason}",
        "設定を保存できませんでした: {reason}",
    ),
    "seconds": ("{n} s", "{n}秒"),
    "minutes": ("{n} min", "{n}分"),
    "hours": ("{n} h {m} min", "{n}時間{m}分"),
}  # fmt: skip
