# ruff: noqa: E501 - sentences are kept in one piece
"""Diagnostics."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "page-diagnostics": ("Diagnostics", "診断"),
    "go-diagnostics": ("Diagnostics: self-test, support file", "診断（動作テスト・サポート用ファイル）"),
    "diagnostics-text": ("When something does not work: try everything out, and make a file for a report.", "うまく動かないときに。動作を確かめ、報告用のファイルを作れます。"),
    "selftest": ("Self-test", "動作テスト"),
    "selftest-text": ("Tries the folders, the memory, a conversion, and a chat in Japanese with every instruction set of this processor. Takes some seconds.", "フォルダー、メモリー、変換、そしてこのプロセッサーのすべての命令セットでの日本語の会話を確かめます。数秒で終わります。"),
    "selftest-start": ("Start the self-test", "動作テストを始める"),
    "work-selftest": ("Self-test{name}", "動作テスト{name}"),
    "selftest-files": ("Files", "ファイル"),
    "selftest-files-ok": ("{folder} can be written ({free} free)", "{folder} に書き込めます（空き {free}）"),
    "selftest-memory": ("Memory", "メモリー"),
    "selftest-memory-ok": ("{free} of {total} free", "{total} のうち空き {free}"),
    "selftest-engine": ("Engine", "エンジン"),
    "selftest-engine-ok": ("{isa}, {threads} threads", "{isa}、{threads} スレッド"),
    "selftest-cards": ("Graphics cards", "グラフィックスカード"),
    "selftest-cards-ok": ("{cards} can be used", "{cards} を使えます"),
    "selftest-cards-none": ("none is used ({why}); the processor does everything", "使えるカードはありません（{why}）。プロセッサーで動作します"),
    "selftest-conversion": ("Conversion", "変換"),
    "selftest-conversion-ok": ("a small model was converted", "小さなモデルを変換できました"),
    "selftest-chat": ("Chat", "会話"),
    "selftest-chat-ok": ("every instruction set, and every graphics card that can be used, says the right Japanese sentence, letter by letter", "どの命令セットと、使えるどのグラフィックスカードでも、正しい日本語の文が一文字も欠けずに出ました"),
    "selftest-chat-none": ("every instruction set says the right Japanese sentence, letter by letter. {why}", "どの命令セットでも、正しい日本語の文が一文字も欠けずに出ました。{why}"),
    "selftest-database": ("Search", "検索"),
    "selftest-database-ok": ("finds parts of Japanese words", "日本語の部分一致で見つかりました"),
    "selftest-paths": ("Long paths", "長いパス"),
    "selftest-paths-ok": ("{longest_path} letters", "{longest_path} 文字のパスを使えました"),
    "support": ("Support file", "サポート用ファイル"),
    "support-text": ("A zip with versions, settings and logs. Your name, folders and addresses are taken out, chats are not in it. Nothing is sent: you save it, and decide who gets it.", "バージョン・設定・ログをまとめた zip です。名前・フォルダー・アドレスは取り除き、会話は含みません。送信はせず、保存するだけです。"),
    "support-preview": ("Show what is in it", "中身を見る"),
    "support-save": ("Save the zip…", "zip を保存…"),
    "support-saved": ("Saved as {path}", "{path} に保存しました"),
    "open-logs": ("Open the logs", "ログを開く"),
}  # fmt: skip
