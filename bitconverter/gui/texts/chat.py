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
    "device": ("CPU · {isa} · {threads} threads", "CPU · {isa} · {threads}スレッド"),
    "device-tip": (
        "Runs on the processor with {isa} instructions and {threads} threads. "
        "Context: {context} tokens. Family: {family}.",
        "プロセッサーの {isa} 命令、{threads} スレッドで動作中。文脈 {context} トークン。系統: {family}。",
    ),
    "you": ("You", "あなた"),
    "model-says": ("Model", "モデル"),
    "thinking": ("Reading…", "読んでいます…"),
    "reading": ("Reading… {share}", "読んでいます… {share}"),
    "note-no-end-token": (
        "Nothing in this model's folder says how it ends an answer: it may go on until Max tokens.",
        "答えの終わり方がモデルのフォルダーに書かれていないため、最大トークン数まで続くことがあります。",
    ),
    "message": ("Message", "メッセージ"),
    "message-placeholder": ("Write a message…", "メッセージを書く…"),
    "message-hint": ("Enter sends · Shift+Enter starts a new line", "Enter で送信 · Shift+Enter で改行"),
    "send": ("Send", "送信"),
    "context": ("Context in use", "文脈の使用量"),
    "context-tip": (
        "{used} of {most} tokens: the system prompt, the chat and what you are writing.",
        "{most} トークン中 {used}。システムプロンプト、会話、入力中の文の合計です。",
    ),
    "edit-question": ("Edit and send again", "編集して送り直す"),
    "again": ("Answer again", "もう一度答える"),
    "chat-cleared": ("The chat was cleared.", "会話を消去しました。"),
    "answer-replaced": ("The previous answer was replaced.", "前の答えを置き換えます。"),
    "question-taken": ("Your message is back in the input.", "メッセージを入力欄に戻しました。"),
    "tok-s": ("{speed} tok/s · {tokens} tokens · {seconds} s", "{speed} トークン/秒 · {tokens} トークン · {seconds} 秒"),
    "answer-tip": (
        "Prompt: {prompt} tokens, {cached} of them kept from before, read in {prefill} s. Seed {seed}.",
        "プロンプト {prompt} トークン（うち {cached} は前回の続き）、読み込み {prefill} 秒。シード {seed}。",
    ),
    "empty-answer": ("(The model answered nothing.)", "（モデルは何も答えませんでした。）"),
    "shortened": ("({count} letters in all; the model gets all of them)", "（全 {count} 文字。モデルには全文が渡ります）"),
    "end-length": ("Cut at the longest answer that is set (Max tokens).", "設定した最大トークン数で打ち切りました。"),
    "end-context": ("The context is full, so the answer ends here. Start a new chat.", "文脈がいっぱいになり、ここで終わりました。新しい会話を始めてください。"),
    "end-stopped": ("Stopped.", "停止しました。"),
    "context-full-title": ("The context is full", "文脈がいっぱいです"),
    "context-full-text": (
        "This conversation needs {needed} tokens, and {available} are there. "
        "Start a new chat; your message stays in the input.",
        "この会話には {needed} トークン必要ですが、使えるのは {available} トークンです。"
        "新しい会話を始めてください。メッセージは入力欄に残っています。",
    ),
}  # fmt: skip
