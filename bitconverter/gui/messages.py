# ruff: noqa: E501 - sentences are kept in one piece
"""Every sentence of the window, in English and Japanese; and events, errors and numbers as text.

The jobs' own sentences are English; what a code means in Japanese is at the end of this file, and a code
that is not there is shown with the job's own sentence.
"""

import traceback
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QLocale

from bitconverter.jobs.chat import Answer
from bitconverter.jobs.errors import UserError
from bitconverter.jobs.job import Note
from bitconverter.jobs.preflight import CheckItem

LANGUAGES = ("en", "ja")

MESSAGES: dict[str, tuple[str, str]] = {
    # the window
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
    # convert
    "convert-title": ("Convert a model", "モデルを変換"),
    "convert-subtitle": (
        "Make a Llama-family model several times smaller, here on this PC. The original stays as it is.",
        "Llama系のモデルを、このPCの中で何分の一かの大きさにします。元のモデルはそのまま残ります。",
    ),
    "drop-title": ("Drop a model here", "ここにモデルをドロップ"),
    "drop-text": (
        "A folder with config.json and .safetensors files, or a .gguf file",
        "config.json と .safetensors のあるフォルダー、または .gguf ファイル",
    ),
    "step-title-1": ("Choose a model", "モデルを選ぶ"),
    "step-text-1": (
        "Llama 2 and 3, Mistral, Qwen2, Qwen3 or SmolLM2, with bf16, f16 or f32 weights, or any .gguf of them.",
        "Llama 2・3、Mistral、Qwen2、Qwen3、SmolLM2 の bf16・f16・f32、またはその .gguf。",
    ),
    "step-title-2": ("Choose a size", "大きさを選ぶ"),
    "step-text-2": (
        "One to four ternary planes: from the smallest file to the one closest to the original.",
        "三値プレーン1～4枚。最小のファイルから、元に最も近いものまで。",
    ),
    "step-title-3": ("Talk to it", "会話する"),
    "step-text-3": (
        "The result runs on this processor. A stopped conversion goes on where it stopped.",
        "結果はこのプロセッサーで動きます。途中で止めた変換は続きから再開できます。",
    ),
    "summary": ("{before} becomes about {after}, in {name}", "{before} → 約 {after}（{name}）"),
    "cannot-convert": ("See the problem above.", "上の問題を解決してください。"),
    "choose-folder": ("Choose a folder…", "フォルダーを選ぶ…"),
    "choose-gguf": ("Choose a .gguf file…", ".gguf ファイルを選ぶ…"),
    "choose-folder-title": ("Choose a model folder", "モデルのフォルダーを選ぶ"),
    "choose-gguf-title": ("Choose a .gguf file", ".gguf ファイルを選ぶ"),
    "choose-out-title": ("Choose where the new folder goes", "新しいフォルダーを作る場所を選ぶ"),
    "gguf-filter": ("GGUF models (*.gguf *.GGUF)", "GGUF モデル (*.gguf *.GGUF)"),
    "change-folder": ("Other folder…", "別のフォルダー…"),
    "change-gguf": ("Other file…", "別のファイル…"),
    "checking": ("Checking the model…", "モデルを確認しています…"),
    "parameters": ("{count} parameters", "パラメーター数 {count}"),
    "size-title": ("Size and quality", "大きさと品質"),
    "planes-count": ("{planes} of 4 planes", "三値プレーン {planes} 枚"),
    "planes-title-1": ("Tiny", "極小"),
    "planes-title-2": ("Small", "小さい"),
    "planes-title-3": ("Near the original", "元に近い"),
    "planes-title-4": ("Closest", "最も近い"),
    "planes-text-1": (
        "The smallest file. Without calibration, which is not there yet, most of the quality is lost.",
        "最小のファイル。補正（未実装）なしでは、品質の大半が失われます。",
    ),
    "planes-text-2": (
        "Small and fast. Quality is lost, and small models suffer clearly.",
        "小さくて速い。品質は下がり、小さなモデルでは、はっきり目立ちます。",
    ),
    "planes-text-3": ("Answers come close to the original's.", "答えは元のモデルに近くなります。"),
    "planes-text-4": ("The closest to the original, and the largest file.", "元のモデルに最も近く、最も大きいファイル。"),
    "bits-per-weight": ("{bits} bits per weight", "重み1つあたり {bits} ビット"),
    "out-title": ("Save to", "保存先"),
    "change-out": ("Change where the new folder goes", "保存先を変更"),
    "disk-line": ("Needs {needed} of disk · {free} free", "ディスク {needed} 必要 · 空き {free}"),
    "disk-needed": ("Needs {needed} of disk", "ディスク {needed} 必要"),
    "convert": ("Convert", "変換する"),
    "converting": ("Converting", "変換しています"),
    "progress": ("Progress", "進み具合"),
    "time-left": ("about {time} left", "残り約{time}"),
    "resume": ("Resume", "続きから再開"),
    "discard": ("Discard…", "破棄…"),
    "unfinished-title": ("{name} is not finished", "{name} は途中です"),
    "unfinished-text": (
        "A conversion with {planes} plane(s) stopped before its end. Resume goes on where it stopped.",
        "{planes}プレーンの変換が途中で止まっています。「続きから再開」で、止まったところから進みます。",
    ),
    "discard-title": ("Discard the unfinished conversion?", "途中の変換を破棄しますか？"),
    "discard-text": (
        "{folder}\n\ngoes to the trash. The original model is not touched.",
        "{folder}\n\nをごみ箱に移します。元のモデルには触れません。",
    ),
    "discard-failed": (
        "{folder}\n\ncould not be moved to the trash. Close programs that use it, or remove it by hand.",
        "{folder}\n\nをごみ箱に移せませんでした。使用中のプログラムを閉じるか、手で削除してください。",
    ),
    "done-title": ("Done", "完了しました"),
    "result-before": ("before", "変換前"),
    "result-after": ("after", "変換後"),
    "result-bits": ("bits per weight", "重み1つあたりのビット数"),
    "result-time": ("time", "時間"),
    "result-time-resumed": ("time since resuming", "再開してからの時間"),
    "chat-with-it": ("Chat with it", "会話する"),
    "open-folder": ("Open the folder", "フォルダーを開く"),
    "console": ("What happens", "作業の記録"),
    "log-checking": ("Checking {path}", "確認中: {path}"),
    "log-ready": ("{name} can be converted ({facts}).", "{name} は変換できます（{facts}）。"),
    "log-blocked": ("This cannot be converted: {count} problem(s), listed above.", "変換できません。上の一覧に問題が {count} 件あります。"),
    "log-converting": ("Converting {name} with {planes} plane(s) into {out}", "{name} を {planes} プレーンで {out} に変換します"),
    "log-done": ("Done: {size} in {out}", "完了: {out}（{size}）"),
    "log-stopped": ("Stopped. What is finished is kept; Resume goes on from there.", "停止しました。終わった分は残っていて、続きから再開できます。"),
    "note-check": ("{message}", "注意: {message}"),
    "note-resumed": ("Going on: {tensors} tensors were finished before.", "続きから始めます。前回までに {tensors} 個のテンソルが済んでいます。"),
    "note-skipped-tensor": ("{tensor} is not needed and left out.", "{tensor} は不要なので省きます。"),
    "note-verified": ("Verified: the engine opens the result.", "検証済み: 結果をエンジンで開けました。"),
    "note-verified-tables-only": (
        "Verified by its tables only: this program may not use enough memory to open the result here.",
        "表だけを検証しました。メモリーの上限により、結果をここで開くことはできませんでした。",
    ),
    "note-calibration": ("Calibrating on {tokens} tokens of {files}", "{files} の {tokens} トークンで校正します"),
    "note-more-damping": (
        "The inputs of {matrix} depend on each other; calibrated more cautiously.",
        "{matrix} の入力は互いに従属しているため、控えめに校正します。",
    ),
    "note-dead-inputs": (
        "{inputs} inputs of {matrix} are always zero on the calibration text.",
        "{matrix} の入力のうち {inputs} 個は、校正用の文章では常に 0 です。",
    ),
    "note-blas-threads": (
        "numpy uses an unknown BLAS: the result may depend on the number of cores.",
        "numpy の BLAS が不明なため、結果がコア数によって変わることがあります。",
    ),
    "note-expanding": ("Unpacking {file}", "{file} を展開しています"),
    # chat
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
    # sampling
    "system-prompt": ("System prompt", "システムプロンプト"),
    "system-prompt-hint": ("How the model should behave. Empty: as it was made.", "モデルのふるまい方。空欄なら元のまま。"),
    "sampling": ("Answers", "答え方"),
    "sampling-temperature": ("Temperature", "温度"),
    "sampling-temperature-tip": ("0 always takes the likeliest word; higher is freer.", "0 は常に最有力の語。大きいほど自由になります。"),
    "sampling-top_p": ("Top-p", "Top-p"),
    "sampling-top_p-tip": ("Only the likeliest words whose probabilities add up to this.", "確率の合計がこの値になるまでの上位の語だけを使います。"),
    "sampling-top_k": ("Top-k", "Top-k"),
    "sampling-top_k-tip": ("Only this many of the likeliest words; 0 for all.", "上位この数の語だけを使います。0 で無制限。"),
    "sampling-min_p": ("Min-p", "Min-p"),
    "sampling-min_p-tip": ("Leaves out words less likely than this share of the best one.", "最有力の語に対する確率の比がこの値より小さい語を除きます。"),
    "sampling-repeat_penalty": ("Repeat penalty", "繰り返しの抑制"),
    "sampling-repeat_penalty-tip": ("Above 1 makes repeated words less likely.", "1 より大きいと、同じ語の繰り返しを減らします。"),
    "sampling-max_tokens": ("Max tokens", "最大トークン数"),
    "sampling-max_tokens-tip": ("The longest answer.", "答えの最大の長さ。"),
    "sampling-seed": ("Seed", "シード"),
    "seed-random": ("A new one for every answer", "毎回新しくする"),
    "seed-random-tip": ("With a fixed seed the same question gets the same answer.", "固定すると、同じ質問に同じ答えが返ります。"),
    "reset-sampling": ("Usual values", "標準の値に戻す"),
    # settings
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
    "kv-f32": ("Full precision", "単精度"),
    "settings-later": ("Threads and chat memory apply to the next model that is opened.", "スレッド数と会話のメモリーは、次に開くモデルから使われます。"),
    "settings-place": ("Settings file: {path}", "設定ファイル: {path}"),
    # errors
    "error-title": ("That did not work", "うまくいきませんでした"),
    "error-unexpected-title": ("Something unexpected went wrong", "予期しない問題が起きました"),
    "error-unexpected": (
        "{reason}\nThis is a fault of the program. Trying again may help; the details are worth a report.",
        "{reason}\nプログラムの不具合です。もう一度試すと動くことがあります。詳細を報告に添えてください。",
    ),
    "error-os": ("The system refused: {reason}", "システムに拒否されました: {reason}"),
    "error-memory": (
        "There is not enough memory. Close other programs, or choose a smaller model.",
        "メモリーが足りません。ほかのプログラムを閉じるか、小さいモデルを選んでください。",
    ),
    "crash-title": ("An unexpected error", "予期しないエラー"),
    "crash-text": (
        "The program goes on, but something did not work. The report below holds no text of your chats.",
        "プログラムは続けられますが、何かがうまくいきませんでした。下の報告に会話の文は含まれません。",
    ),
    "copy-report": ("Copy the report", "報告をコピー"),
    # numbers
    "seconds": ("{n} s", "{n}秒"),
    "minutes": ("{n} min", "{n}分"),
    "hours": ("{n} h {m} min", "{n}時間{m}分"),
}  # fmt: skip

# what a UserError's code means in Japanese; English is the error's own sentence
ERRORS_JA: dict[str, str] = {
    "source-missing": "{path} がありません。元のモデルの場所を確認してください。",
    "source-kind": "{path} はモデルのフォルダーでも .gguf ファイルでもありません。config.json と .safetensors のあるフォルダーを選んでください。",
    "config-missing": "{folder} に config.json がないため、Hugging Face のモデルのフォルダーではありません。",
    "config-broken": "{path} が壊れています。このファイルをもう一度ダウンロードしてください。",
    "work-folder-taken": "{folder} には別の設定の途中の作業があります。別の保存先を選ぶか、同じ設定で続けるか、そのフォルダーを削除してください。",
    "journal-lost": "{folder} の変換の記録（journal.jsonl）がないか壊れていて、どこまで済んだか分かりません。最初からやり直すにはそのフォルダーを削除し、別のものなら別の保存先を選んでください。",
    "source-changed": "{folder} の変換を始めたあとで元のモデルが変わりました。最初からやり直すには、そのフォルダーを削除してください。",
    "disk-full": "{folder} のディスクがいっぱいです。空きを作ってから同じ変換を始めると、続きから進みます。",
    "weight-not-finite": "テンソル {tensor} に数値でない値（NaN や無限大）があり、元のモデルが壊れています。もう一度ダウンロードしてください。",
    "tensor-dtype": "{file} のテンソル {tensor} は {dtype} 形式です。読めるのは BF16、F16、F32 だけです。",
    "safetensors-short": "{file} が不完全です（{size} バイト、必要なのは {needed} バイト）。もう一度ダウンロードしてください。",
    "safetensors-broken": "{file} を使えません（{why}）。もう一度ダウンロードしてください。",
    "damaged-file": "{file} を使えません。元のモデルからもう一度コピーしてください。",
    "no-model": "{folder} というフォルダーはありません。モデルのフォルダーを選んでください。",
    "model-missing": "{path} がありません。モデルの場所を確認してください。",
    "weights-missing": "{file} の重みがありません（リンク先にファイルがありません）。もう一度ダウンロードしてください。",
    "model-kind": "{path} はモデルのフォルダーではありません。config.json のあるフォルダーを選んでください。",
    "no-tokenizer": "{folder} に使えるトークナイザー（tokenizer.json）がありません。同じモデルの tokenizer.json をフォルダーに入れてください。",
    "no-chat-template": "{folder} に会話テンプレートがなく、このモデルとの会話の形が分かりません。会話用のモデル（-Instruct、-Chat）を選ぶか、配布元の chat_template.jinja を入れてください。",
    "chat-busy": "このモデルはまだ答えています。停止するか、終わるまで待ってください。",
    "chat-closed": "このモデルは閉じられています。もう一度開いてください。",
    "no-message": "答える内容がありません。メッセージを書いてください。",
    "chat-template-refused": "このモデルの会話テンプレートがこの会話を受け付けません: {reason}",
    "chat-template-broken": "このモデルの会話テンプレートが動きません。元のモデルから chat_template.jinja か tokenizer_config.json をもう一度コピーしてください。",
    "tokenizer-mismatch": "トークナイザーは {tokenizer} トークン、モデルは {model} トークンで、組み合わせが合いません。元のモデルから tokenizer.json をもう一度コピーしてください。",
    "unsupported-tokenizer": "このトークナイザーの復号方式（{kind}）には対応していません。tokenizer.json がこのモデルのものか確認してください。",
    "threads": "スレッド数 {threads} は使えません。1～1024、または 0（全コア）にしてください。",
    "context-full": "この会話には {needed} トークン必要ですが、使えるのは {available} トークンです。新しい会話を始めてください。",
    "work-folder-busy": "別のプログラムが {folder} で同じ変換をしています。終わるのを待つか、別の保存先を選んでください。",
    "output-exists": "保存先がすでにあり、空ではありません。上書きはしません。別の保存先を選んでください。",
    "folder-unwritable": "{folder} に書き込めません。別の保存先を選んでください。",
    "gguf-broken": "{file} を使えません（{why}）。もう一度ダウンロードするか、別のファイルを選んでください。",
    "gguf-short": "{file} が不完全です（{size} バイト、必要なのは {needed} バイト）。もう一度ダウンロードしてください。",
    "gguf-type": "GGUF の {type} 形式の重みは読めません。別の量子化のファイルを選んでください。",
    "gguf-split": "{file} は {parts} 個に分割された GGUF の一部です。llama.cpp の llama-gguf-split --merge で結合するか、元のモデルを選んでください。",
    "gguf-tokenizer": "{file} のトークナイザーを復元できません。元のモデルを選んでください。",
    "gguf-metadata": "{file} の {key} に問題があり、このモデルを復元できません。元のモデルを選んでください。",
    "gguf-rope": "この GGUF の回転位置の係数は、知られている規則（llama3）に合いません。元のモデルを選んでください。",
    "planes": "プレーンの数 {planes} は使えません。1、2、3、4 のどれかにしてください。",
    "bits": "1 重みあたり {bits} ビットでは少なすぎます。すべて 1 プレーンでも {least} ビット必要です。",
    "method": "{method} という方法はありません。fast か full を選んでください。",
    "windows": "校正に {windows} 個の区間は使えません。",
    "calibration-short": "校正用の文章 {file} は {tokens} トークンしかありません。少なくとも {needed} トークンの文章を選んでください。",
    "calibration-overflow": "校正用の文章で第 {layer} 層の値が数でなくなりました。元のモデルが壊れている可能性があります。壊れていなければ fast で変換してください。",
    "text-encoding": "{path} は UTF-8 の文章ではありません。UTF-8 で保存し直してください。",
    "text-unreadable": "{path} を読めません。場所を確認してください。",
    "seed": "このシードは使えません。0 以上の小さい数にしてください。",
    "sampling": "この答え方の設定は使えません。「標準の値に戻す」を押してください。",
    "context-size": "文脈の長さ {asked} は使えません。このモデルで使えるのは {available} までです。",
    "preflight": "変換を始められません。上の一覧の問題を直してください。",
}  # fmt: skip

# a check's code and level in Japanese, tried with its fields; what is not here is shown in English
CHECKS_JA: dict[str, tuple[str, ...]] = {
    "architecture-ok": ("構造: {family}",),
    "architecture-error": ("このモデルには対応していません（{message}）。使えるのは Llama、Mistral、Qwen2、Qwen3、SmolLM2 です。",),
    "source-unreadable-error": ("{path} を読めません（{why}）。",),
    "already-converted-error": ("このモデルは変換済みです。元になったフォルダーを選んでください。",),
    "quantized-source-error": ("このモデルの重みはすでに量子化されています（{method}）。bf16、f16、f32 の元のモデルを選んでください。使えるのは Llama、Mistral、Qwen2、Qwen3、SmolLM2 です。",),
    "tensors-ok": ("{count} 個のテンソルがすべてそろっています。",),
    "tensors-extra-ok": ("不要な {count} 個のテンソルは省きます。",),
    "tensors-error": (
        "テンソル {tensor} の形が {shape} です。config.json では {expected} です。",
        "テンソル {tensor} は {dtype} 形式です。読めるのは BF16、F16、F32 だけです。",
        "テンソル {tensor} がないか、この構造では使えません。",
        "ほかに {count} 個のテンソルにも問題があります。",
    ),
    "shards-error": (
        "{file} が不完全です（{size} バイト、必要なのは {needed} バイト）。もう一度ダウンロードしてください。",
        "{file} を使えません（{why}）。もう一度ダウンロードしてください。",
        "{file} がないか、読めません。このフォルダーにダウンロードしてください。",
        ".safetensors ファイルがないため、読む重みがありません。",
    ),
    "index-error": ("model.safetensors.index.json が壊れています。もう一度ダウンロードしてください。",),
    "index-ignored-warning": ("model.safetensors と model.safetensors.index.json の両方があるため、model.safetensors を読み、index は使いません。",),
    "tokenizer-ok": ("トークナイザー: {tokens} トークン",),
    "tokenizer-warning": ("トークナイザーは {tokens} トークン、モデルは {vocab_size} トークンです。組み合わせが合わないかもしれません。",),
    "tokenizer-error": ("トークナイザーを使えません（{message}）。同じモデルの tokenizer.json をフォルダーに入れてください。",),
    "chat-template-ok": ("会話テンプレートがあります。",),
    "damaged-file-warning": ("{file} を使えません。元のモデルからもう一度コピーしてください。", "会話用のファイルが壊れています（{message}）。"),
    "chat-template-broken-warning": ("会話テンプレートを使えないため、このままでは変換後のモデルと会話できません（{message}）。",),
    "chat-template-warning": ("会話テンプレートがありません。答えるのではなく文を続ける、基本モデルかもしれません。",),
    "licence-ok": ("ライセンス: {licence}",),
    "licence-warning": ("ライセンスが見つかりません。結果を人に渡す前に、配布元のページを確認してください。",),
    "output-ok": ("保存先: {out}",),
    "output-error": ("{out} には保存できません（{why}）。別の保存先を選んでください。", "{out} には保存できません。別の保存先を選んでください。"),
    "output-exists-error": ("{out} はすでにあり、上書きはしません。別の保存先を選んでください。",),
    "unfinished-ok": ("途中の変換があり、続きから進みます。",),
    "disk-ok": ("ディスクの空きは足りています（{needed} 必要、空き {free}）。",),
    "disk-error": ("ディスクの空きが足りません（{needed} 必要、空き {free}）。",),
}  # fmt: skip


class _State:
    language = "en"


def set_language(choice: str) -> None:
    """Use "en" or "ja", or "auto" for the language of the system."""
    if choice == "auto":
        japanese = any(name.startswith("ja") for name in QLocale.system().uiLanguages()[:1])
        choice = "ja" if japanese else "en"
    if choice not in LANGUAGES:
        raise ValueError(f"no such language: {choice}")
    _State.language = choice


def language() -> str:
    """The language in use."""
    return _State.language


def tr(key: str, **fields: Any) -> str:
    """The message `key` in the language in use, its {fields} filled in."""
    return MESSAGES[key][LANGUAGES.index(_State.language)].format(**fields)


@dataclass(frozen=True)
class ErrorText:
    """What to show of an error: `details` is for a report, "" when the sentence says it all."""

    title: str
    text: str
    details: str = ""


def error_text(error: BaseException) -> ErrorText:
    """An error as a title and a sentence."""
    if isinstance(error, UserError):
        if "items" in error.fields:  # a refused preflight: each of its errors is a sentence
            bad = [item for item in error.fields["items"] if item.level == "error"]
            return ErrorText(tr("error-title"), "\n".join(check_text(item) for item in bad) or str(error))
        return ErrorText(tr("error-title"), _user_sentence(error))
    details = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return ErrorText(tr("error-title"), tr("error-memory"), details)
    if isinstance(error, OSError):
        return ErrorText(tr("error-title"), tr("error-os", reason=str(error)), details)
    if type(error).__module__.startswith("bitconverter."):  # the engine speaks in sentences
        return ErrorText(tr("error-title"), str(error), details)
    reason = f"{type(error).__name__}: {error}"
    return ErrorText(tr("error-unexpected-title"), tr("error-unexpected", reason=reason), details)


def _user_sentence(error: UserError) -> str:
    template = ERRORS_JA.get(error.code) if _State.language == "ja" else None
    filled = None if template is None else _filled(template, error.fields)
    return filled if filled is not None else str(error)


def _filled(template: str, fields: dict[str, Any]) -> str | None:
    """None when the template needs a field that is not there."""
    try:
        return template.format(**fields)
    except (KeyError, IndexError):
        return None


def check_text(item: CheckItem) -> str:
    """A check as a sentence: the first Japanese one whose fields are there, else the job's own."""
    fields = {"message": item.message.rstrip(". "), **item.fields}
    for name in ("free", "needed"):
        if item.code == "disk" and isinstance(fields.get(name), int):
            fields[name] = format_size(fields[name])
    for template in CHECKS_JA.get(f"{item.code}-{item.level}", ()) if _State.language == "ja" else ():
        filled = _filled(template, fields)
        if filled is not None:
            return filled
    if item.level == "error":  # a source that could not be opened is told by the error's own code
        return _user_sentence(UserError(item.code, item.message, **item.fields))
    return item.message


def note_text(note: Note) -> str:
    """A note as a line of the console."""
    if note.code == "check":
        item = CheckItem(note.fields["code"], note.fields["level"], note.fields["message"], {})
        return tr("note-check", message=check_text(item))
    key = f"note-{note.code}"
    if key in MESSAGES:
        return tr(key, **note.fields)
    return ", ".join([note.code, *(f"{name} {value}" for name, value in note.fields.items())])


def answer_line(answer: Answer) -> str:
    """The numbers under an answer."""
    speed, seconds = (
        f"{answer.tokens_per_second:.1f}",
        f"{answer.prefill_seconds + answer.decode_seconds:.1f}",
    )
    return tr("tok-s", speed=speed, tokens=answer.tokens, seconds=seconds)


def answer_details(answer: Answer) -> str:
    """More numbers, for the tool tip."""
    return tr(
        "answer-tip", prompt=answer.prompt_tokens, cached=answer.cached_tokens,
        prefill=f"{answer.prefill_seconds:.2f}", seed=answer.seed,
    )  # fmt: skip


def format_size(count: int) -> str:
    """Bytes as people say them: 1000 to the kilo, three digits."""
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    if unit == "B":
        return f"{count} B"
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def format_count(count: int) -> str:
    """A number of parameters: 135 M, 8.03 B."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def format_duration(seconds: float) -> str:
    """12 s, 3 min, 1 h 5 min."""
    if seconds < 10:
        return tr("seconds", n=f"{seconds:.1f}")
    if seconds < 90:
        return tr("seconds", n=round(seconds))
    minutes = round(seconds / 60)
    if minutes < 60:
        return tr("minutes", n=minutes)
    return tr("hours", n=minutes // 60, m=minutes % 60)
