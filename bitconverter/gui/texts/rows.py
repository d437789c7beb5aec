# ruff: noqa: E501 - sentences are kept in one piece
"""Why a row of a lesson is not used, and what would help, in Japanese. English is the job's own (format/row_problem.py)."""

# what a value is, where a text should be
KINDS_JA = {
    "a list": "リスト",
    "an object": "オブジェクト",
    "a text": "文",
    "null": "値なし",
    "true": "真偽値 true",
    "false": "真偽値 false",
}

# code -> (reason, fix)
ROWS_JA: dict[str, tuple[str, str]] = {
    "not-json": ("JSON として読めません（{why}）", "1 行に 1 つの JSON オブジェクトを書いてください"),
    "python-dict": ("JSON ではなく Python の辞書の書き方です", "名前と文を二重引用符で囲んでください"),
    "trailing-comma": ("JSON の後ろに余分なカンマがあります", "カンマを消してください"),
    "not-object": ("JSON オブジェクトではありません（{found}）", "項目を名前つきで波かっこの中に書いてください"),
    "rest-unreadable": ("ここで JSON が壊れていて（{why}）、これより後ろは読めません", "この場所を直すか、1 行に 1 件の .jsonl にしてください"),
    "csv-broken": ("引用符の組が合っていません（{why}）", "引用符で囲んだセルの中の \" は 2 つ重ねてください"),
    "csv-columns": ("セルが {found} 個ありますが、1 行目は {expected} 個です", "カンマや改行を含むセルを引用符で囲んでください"),
    "damaged-letters": ("{encoding} として読めない文字があります", "エディターでこの行を直し、UTF-8 で保存してください"),
    "unknown-fields": ("知っている項目がありません（{found}）", "prompt と answer、messages、conversations、instruction と output、または text という名前にしてください"),
    "field-missing": ("{field} がありません", "書き足すか、この行を消してください"),
    "field-empty": ("{field} が空です", "書き足すか、この行を消してください"),
    "field-number": ("{field} が文ではありません（{found}）", "引用符で囲んでください"),
    "field-kind": ("{field} が文ではありません（{found}）", "文にしてください"),
    "not-turns": ("{field} が発言のリストではありません（{found}）", "role と content を持つ発言のリストにしてください"),
    "role-unknown": ("{field} の {found} は役割として使えません", "system、user、assistant のどれかにしてください"),
    "role-tool": ("{field} に {found} があります。ツールの呼び出しはまだ学習できません", "そのやり取りか、この行を消してください"),
    "no-answer": ("答えがひとつもありません", "assistant の発言を足すか、この行を消してください"),
    "begins-with-answer": ("答えから始まっています", "最初の質問より前を消してください"),
    "ends-with-question": ("最後の質問に答えがありません", "最後の質問を消すか、答えを足してください"),
    "half-character": ("{field} に文字の片割れ（サロゲート）があります", "文を書き直してください"),
    "special-token": ("{field} に、このモデルで特別な意味を持つ {found} が入っています", "消してください。必要な記号はテンプレートが付けます"),
    "template-refused": ("モデルの会話テンプレートが受け付けません（{why}）", "発言の並びを変えてください"),
    "needs-template": ("会話ですが、このモデルには会話テンプレートがありません", "会話用のモデルを選ぶか、prompt と answer の行にしてください"),
    "too-long": ("{tokens} トークンあり、区間に入るのは {most} までです", "短くするか、区間を {needed} 以上にしてください"),
    "no-tokens": ("{field} からトークンができません", "書き足すか、この行を消してください"),
    "same-as": ("{path} の {other} 行目と同じです", "どちらかを消してください"),
    "same-as-in-list": ("{path} の {other} 件目と同じです", "どちらかを消してください"),
    "nothing-learned": ("学習する印がありません", ".mask ファイルで答えに印を付けてください"),
    "empty-file": ("中身がありません", "このファイルを外してください"),
}  # fmt: skip
