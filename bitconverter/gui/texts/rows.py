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
    "not-json": ("JSON として読めません（{why}）", "{help}"),
    "python-dict": ("JSON ではなく Python の辞書の書き方です", "名前と文を二重引用符で囲んでください"),
    "trailing-comma": ("JSON に余分なカンマがあります", "カンマを消してください"),
    "not-object": ("JSON オブジェクトではありません（{found}）", "項目を名前つきで波かっこの中に書いてください"),
    "rest-unreadable": ("ここで JSON が壊れていて、これより後ろは読めません（{why}）", "{help}。または、1 行に 1 件の .jsonl にしてください"),
    "list-comma": ("前にカンマがありません", "前の行の後ろにカンマを付けてください"),
    "csv-broken": ("引用符の組が合っていません（{why}）", "{help}"),
    "csv-columns": ("セルが {found} 個ありますが、1 行目は {expected} 個です", "カンマや改行を含むセルを引用符で囲んでください"),
    "damaged-letters": ("{encoding} として読めない文字があります", "エディターでこの行を直し、UTF-8 で保存してください"),
    "unknown-fields": ("知っている項目がありません（{found}）", "prompt と answer、messages、conversations、instruction と output、または text という名前にしてください（表では 1 行目に書きます）"),
    "field-missing": ("{field} がありません", "書き足すか、この行を消してください"),
    "field-empty": ("{field} が空です", "書き足すか、この行を消してください"),
    "field-number": ("{field} が文ではありません（{found}）", "引用符で囲んでください"),
    "field-kind": ("{field} が文ではありません（{found}）", "文にしてください"),
    "not-turns": ("{field} が発言のリストではありません（{found}）", "role と content を持つ発言のリストにしてください"),
    "role-unknown": ("{field} の {found} は役割として使えません", "system、user、assistant のどれかにしてください"),
    "role-tool": ("{field} に {found} があります。ツールの呼び出しはまだ学習できません", "そのやり取りか、この行を消してください"),
    "no-answer": ("答えがひとつもありません", "assistant の発言を足すか、この行を消してください"),
    "no-question": ("質問がなく、答えだけです", "答えの前に user の発言を足すか、text の行にしてください"),
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
    "no-label": ("{field} の {found} は、見分ける語のどれでもありません", "どれかの語にするか、この行を消してください"),
    "empty-file": ("中身がありません", "このファイルを外してください"),
}  # fmt: skip

# code in the field `why` -> (why, help)
WHYS_JA: dict[str, tuple[str, str]] = {
    "json-value": ("{column} 文字目の {letter} は値として読めません", "文は \" で囲んでください"),
    "json-name": ("{column} 文字目の {letter} は名前として読めません", "名前は \" で囲んでください"),
    "json-colon": ("{column} 文字目にコロンがありません", "名前と値の間にコロンを置いてください"),
    "json-comma": ("{column} 文字目にカンマがありません", "項目の間にカンマを置き、文の中の \" は \\\" と書いてください"),
    "json-comma-too-many": ("{column} 文字目のカンマが余分です", "消してください"),
    "json-extra": ("{column} 文字目に、終わりのあとの続きがあります", "1 行に 1 つの JSON オブジェクトを書いてください"),
    "json-control": ("{column} 文字目で、文の中にタブか改行があります", "\\t や \\n と書いてください"),
    "json-backslash": ("{column} 文字目の {letter} に意味がありません", "バックスラッシュ（¥）を 2 つ重ねてください"),
    "json-open-text": ("{column} 文字目から始まる文が終わっていません", "終わりに \" を付け、文の中の改行は \\n と書いてください"),
    "json-ends": ("途中で終わっています", "波かっこなど、終わりに足りないものを書き足してください"),
    "json-curly": ("{column} 文字目が \" ではなく {letter} です", "半角の引用符 \" にしてください"),
    "json-deep": ("かっこの重なりが深すぎます", "重なりを減らしてください"),
    "json-digits": ("数字の桁が多すぎます", "引用符で囲んでください"),
    "json-list": ("{column} 文字目にカンマか ] がありません", "書き足してください"),
    "csv-behind-quote": ("閉じる引用符のあとに続きがあります", "引用符で始まるセルの中の \" は 2 つ重ねてください"),
    "csv-open-quote": ("引用符が閉じていません", "閉じるか、セルの中の \" を 2 つ重ねてください"),
    "csv-long": ("セルが長すぎます", "引用符を閉じるか、分けてください"),
}  # fmt: skip
