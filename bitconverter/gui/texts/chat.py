# ruff: noqa: E501 - sentences are kept in one piece
"""The chat page."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "no-model": ("No model", "モデルなし"),
    "choose-model": ("Model: {name}. Choose another one", "モデル: {name}。別のモデルを選ぶ"),
    "open-model": ("Open a model folder…", "モデルのフォルダーを開く…"),
    "open-model-title": ("Open a model", "モデルを開く"),
    "convert-a-model": ("Convert a model", "モデルを変換する"),
    "recent-models": ("Recent", "最近使ったモデル"),
    "chat-empty-title": ("Open a model to talk to", "会話するモデルを開く"),
    "chat-empty-text": (
        "Drop a converted model here, an original Hugging Face folder, or a .gguf file. Everything stays on this PC.",
        "変換したモデル、元の Hugging Face フォルダー、.gguf をここにドロップ。すべてこのPCの中で動きます。",
    ),
    "loading": ("Opening {name}…", "{name} を開いています…"),
    "loading-short": ("Opening the model", "モデルを開いています"),
    "ready-title": ("What shall we talk about?", "何を話しましょうか？"),
    "ready-text": ("{name} is ready.", "{name} の準備ができました。"),
    "suggestion-1": ("Explain photosynthesis in three sentences.", "光合成を3つの文で説明してください。"),
    "suggestion-2": ("Write a short poem about the sea in winter.", "冬の海についての短い詩を書いてください。"),
    "suggestion-3": ("Write a Python function that reverses a string.", "文字列を逆順にする Python の関数を書いてください。"),
    "new-chat": ("New chat", "新しい会話"),
    "toggle-drawer": ("Show or hide the chat settings", "会話の設定を表示・非表示"),
    "kind-ternary": ("ternary", "三値"),
    "kind-original": ("original", "元のモデル"),
    "with-soul": ("With {name}", "「{name}」を使う"),
    "with-soul-name": ("Answer with the soul {name}", "ソウル「{name}」を使って答える"),
    "with-soul-tip": ("Answer with the soul {name}; counts from the next answer on", "ソウル「{name}」を使って答えます（次の答えから）"),
    "made-with-soul": ("with {name}", "「{name}」使用"),
    "made-without-soul": ("without {name}", "「{name}」なし"),
    "soul-not-open": (
        "This answer was made with the soul {name}, which is not open now. Open it from the shelf first.",
        "この答えはソウル「{name}」を使ったものですが、今は開いていません。先に棚から開いてください。",
    ),
    "opened-without-soul": ("The model was opened without its soul.", "ソウルを使わずにモデルを開きました。"),
    "you": ("You", "あなた"),
    "model-says": ("Model", "モデル"),
    "thinking": ("Reading…", "読んでいます…"),
    "reading": ("Reading… {share}", "読んでいます… {share}"),
    "note-no-end-token": (
        "Nothing in this model's folder says how it ends an answer: it may go on until Max tokens.",
        "答えの終わり方がモデルのフォルダーに書かれていないため、最大トークン数まで続くことがあります。",
    ),
    "note-memory-tight": (
        "This model and its chat take {needs}, and {left} is free now: answers will be slow. Close other programs.",
        "このモデルと会話には {needs} が必要ですが、今の空きは {left} です。答えが遅くなるので、ほかのプログラムを閉じてください。",
    ),
    "open-smaller": ("Open with {context} tokens of context", "文脈を {context} トークンにして開く"),
    "message": ("Message", "メッセージ"),
    "message-placeholder": ("Write a message…", "メッセージを書く…"),
    "message-hint": ("Enter sends · Shift+Enter: new line", "Enter で送信 · Shift+Enter で改行"),
    "send": ("Send", "送信"),
    "context": ("Context in use", "文脈の使用量"),
    "context-tip": (
        "{used} of {most} tokens: the system prompt, the chat and what you are writing.",
        "{most} トークン中 {used}。システムプロンプト、会話、入力中の文の合計です。",
    ),
    "context-near-tip": (
        "{used} of {most} tokens: little room is left for the answer. Click to see what is sent.",
        "{most} トークン中 {used}。答えに使える余裕がわずかです。クリックすると送られる文を確認できます。",
    ),
    "context-over-tip": (
        "{used} of {most} tokens: too long. When you send it, you choose what to leave out.",
        "{most} トークン中 {used}。長すぎます。送信するときに、何を省くか選べます。",
    ),
    "edit-question": ("Edit: makes a branch, the old version stays", "編集（枝分かれします。元の文も残ります）"),
    "editing-question": ("You are editing a message. Sending it makes a new branch.", "メッセージを編集中です。送信すると枝分かれします。"),
    "editing-answer": ("You are editing an answer. Sending keeps it as another version.", "答えを編集中です。送信すると別の版として残ります。"),
    "edit-leave": ("Cancel", "やめる"),
    "again": ("Answer again", "もう一度答える"),
    "go-on": ("Continue the answer", "続きを書かせる"),
    "message-more": ("More", "その他"),
    "do-edit": ("Edit", "編集"),
    "do-again": ("Answer again", "もう一度答える"),
    "do-repeat": ("Repeat exactly (seed {seed})", "まったく同じに繰り返す（シード {seed}）"),
    "do-both": ("Answer with and without the soul", "ソウルありとなしで答えをくらべる"),
    "two-answers": ("With and without the soul", "ソウルありとなし"),
    "two-answers-text": (
        "The same question, seed and settings. Both answers stay in the chat as versions.",
        "質問、シード、設定は同じです。どちらの答えも、会話に別の版として残ります。",
    ),
    "two-answers-same": (
        "The same question, seed and settings, and the same answer, letter for letter.",
        "質問、シード、設定は同じです。答えも一字一句同じでした。",
    ),
    "do-edit-answer": ("Edit the answer", "答えを編集"),
    "do-delete": ("Delete from here on", "ここから先を削除"),
    "repeated": ("The same answer, letter for letter.", "一字一句同じ答えになりました。"),
    "repeated-differs": (
        "A different answer: the model, the processor or the conversation is not the same as then.",
        "違う答えになりました。モデル、プロセッサー、または会話が当時と異なります。",
    ),
    "version": ("Version {number} of {of}", "{of} 個中 {number} 番目の版"),
    "version-before": ("The version before", "前の版"),
    "version-after": ("The next version", "次の版"),
    "attach": ("Attach documents", "文書を添付"),
    "attach-filter": (
        "Documents (*.txt *.md *.pdf *.docx *.csv *.json *.py *.html *.xml *.log);;All files (*)",
        "文書 (*.txt *.md *.pdf *.docx *.csv *.json *.py *.html *.xml *.log);;すべてのファイル (*)",
    ),
    "attachment-remove": ("Remove {name}", "{name} を外す"),
    "attachment-reading": ("Reading {name}…", "{name} を読んでいます…"),
    "letters": ("{count} letters", "{count} 文字"),
    "preview": ("What is really sent", "実際に送られる文"),
    "preview-button": ("What is really sent…", "実際に送られる文…"),
    "preview-tip": (
        "The conversation as the model's own template writes it, with every special token.",
        "モデル自身のテンプレートで書かれた会話を、特殊トークンも含めて表示します。",
    ),
    "preview-text": ("{tokens} of {most} tokens, with what is in the input.", "{most} トークン中 {tokens}（入力中の文を含む）。"),
    "preview-none": ("Open a model first: each has its own template.", "先にモデルを開いてください。テンプレートはモデルごとに異なります。"),
    "left-out-line": (
        "The model no longer sees the {count} message above: the context has no room.",
        "The model no longer sees the {count} messages above: the context has no room for them.",
        "文脈に入りきらないため、ここより上の {count} 件のメッセージはモデルに渡りません。",
    ),
    "note-left-out": ("The oldest messages are left out: {messages}.", "古いメッセージを {messages} 件省きました。"),
    "tok-s": (
        "{speed} tok/s · {count} token · {seconds} s",
        "{speed} tok/s · {count} tokens · {seconds} s",
        "{speed} トークン/秒 · {count} トークン · {seconds} 秒",
    ),
    "answer-tip": (
        "{model}. Prompt: {prompt} tokens, {cached} of them kept from before, read in {prefill} s. "
        "Temperature {temperature}, seed {seed}.",
        "{model}。プロンプト {prompt} トークン（うち {cached} は前回の続き）、読み込み {prefill} 秒。"
        "温度 {temperature}、シード {seed}。",
    ),
    "empty-answer": ("(The model answered nothing.)", "（モデルは何も答えませんでした。）"),
    "shortened": ("({count} letters in all; the model gets all of them)", "（全 {count} 文字。モデルには全文が渡ります）"),
    "end-length": ("Cut at the longest answer that is set (Max tokens).", "設定した最大トークン数で打ち切りました。"),
    "end-context": ("The context is full, so the answer ends here. Start a new chat.", "文脈がいっぱいになり、ここで終わりました。新しい会話を始めてください。"),
    "end-stopped": ("Stopped.", "停止しました。"),
    "end-interrupted": ("The program ended here. Nothing before was lost.", "ここでプログラムが終了しました。ここまでの文は残っています。"),
    "context-full-title": ("The context is full", "文脈がいっぱいです"),
    "context-full-text": (
        "This conversation needs {needed} tokens, and {available} are there. Choose: leave out the oldest "
        "messages, start a new chat, or shorten your message, which is back in the input.",
        "この会話には {needed} トークン必要ですが、使えるのは {available} トークンです。"
        "古いメッセージを省く、新しい会話を始める、入力欄に戻したメッセージを短くする、のどれかを選んでください。",
    ),
    "context-full-alone-text": (
        "This message needs {needed} tokens, and {available} are there. Shorten it, or attach less; "
        "it is back in the input.",
        "このメッセージには {needed} トークン必要ですが、使えるのは {available} トークンです。"
        "入力欄に戻したので、短くするか、添付を減らしてください。",
    ),
    "context-drop-oldest": ("Leave out the oldest messages", "古いメッセージを省いて続ける"),
}  # fmt: skip
