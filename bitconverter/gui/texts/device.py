# ruff: noqa: E501 - sentences are kept in one piece
"""On what a model runs, and why: the chat's badge, the setting, the graphics cards of this PC."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "device": ("CPU · {isa} · {threads} threads", "CPU · {isa} · {threads} スレッド"),
    "device-tip": (
        "Runs on the processor with {isa} instructions and {threads} threads. "
        "Context: {context} tokens. Family: {family}.",
        "プロセッサーの {isa} 命令、{threads} スレッドで動作中。文脈 {context} トークン。系統: {family}。",
    ),
    "device-card": ("GPU · {name}", "GPU · {name}"),
    "device-card-tip": (
        "Runs whole on the graphics card {name}. Context: {context} tokens. Family: {family}.",
        "グラフィックスカード {name} だけで動作中。文脈 {context} トークン。系統: {family}。",
    ),
    "device-partly": ("GPU {layers} of {all_layers} layers + CPU", "GPU {layers}/{all_layers} 層 + CPU"),
    "device-partly-tip": (
        "The last {layers} of {all_layers} layers run on the graphics card {name}, the others on the processor "
        "({isa}, {threads} threads). Context: {context} tokens. Family: {family}.",
        "{all_layers} 層のうち後ろの {layers} 層はグラフィックスカード {name}、残りはプロセッサー（{isa}、{threads} スレッド）で動作中。"
        "文脈 {context} トークン。系統: {family}。",
    ),
    "note-device": ("{reason}", "{reason}"),
    "open-on-processor": ("Use the processor", "プロセッサーで開く"),
    # why, by the code of jobs/placement.py; the tool tip of the badge ends with it
    "why-asked-cpu": ("The settings say: processor.", "設定で「プロセッサー」が選ばれています。"),
    "why-no-backend": (
        "Graphics cards cannot be used: this installation lacks the part for them.",
        "このインストールにはグラフィックスカード用の部品がないため、カードは使えません。",
    ),
    "why-no-driver": ("No graphics card can be used: {why}.", "使えるグラフィックスカードがありません（{why}）。"),
    "why-device-failed": ("The graphics card failed: {why}.", "グラフィックスカードで問題が起きました（{why}）。"),
    "why-too-small": (
        "Not one layer fits on {device}: the whole model would take {needs}, and only {room} is free for it.",
        "{device} には 1 層も入りません。モデル全体で {needs} 必要ですが、使えるのは {room} です。",
    ),
    "why-some-layers": (
        "Not all of it fits on {device}: the whole model would take {needs}, and only {room} is free for it.",
        "{device} に全部は入りません。モデル全体で {needs} 必要ですが、使えるのは {room} です。",
    ),
    "why-asked-layers": ("So many layers were asked for.", "層の数が指定されています。"),
    "why-all-layers": ("The whole model fits there.", "モデル全体が入っています。"),
    "why-kv-needs-cpu": (
        "A chat memory (KV cache) of {kv} works on the processor only; {device} takes 8 bits or half precision.",
        "会話のメモリー（KV キャッシュ）の {kv} はプロセッサーでしか使えません。{device} では 8 ビットか半精度を選んでください。",
    ),
    "why-lora-needs-cpu": (
        "The soul holds low-rank additions (LoRA) or whole matrices that are added, which run on the processor only, so {device} is not used.",
        "このソウルは低ランクの追加分（LoRA）か行列の追加分を持ち、プロセッサーでしか動かないため、{device} は使いません。",
    ),
    "why-unsupported": ("{device} cannot run this model: {why}.", "{device} ではこのモデルを動かせません（{why}）。"),
    "why-device-wrong": (
        "{device} is not used: {why}.",
        "{device} の計算結果がプロセッサーと一致しないため、使いません（{why}）。ドライバーの更新で直ることがあります。",
    ),
    "why-delta-needs-cpu": (
        "Whole matrices that are added are trained on the processor only, so {device} is not used.",
        "行列の追加分の学習はプロセッサーでしかできないため、{device} は使いません。",
    ),
    "why-train-too-small": (
        "Not one layer that learns fits on {device}: with what the steps need they take {needs}, and only {room} is free for it.",
        "{device} には学習する層が 1 つも入りません。計算の作業領域を含めて {needs} 必要ですが、使えるのは {room} です。",
    ),
    "why-train-some-layers": (
        "Not all layers that learn fit on {device}: with what the steps need they take {needs}, and only {room} is free for it.",
        "{device} には学習する層の全部は入りません。計算の作業領域を含めて {needs} 必要ですが、使えるのは {room} です。",
    ),
    "steps-card-tip": (
        "The steps of this training run on the graphics card {device}.",
        "学習の各ステップはグラフィックスカード {device} で計算しています。",
    ),
    "steps-partly-tip": (
        "Of the {all_layers} layers that learn the last {layers} run on the graphics card {device}, the others on the processor.",
        "学習する {all_layers} 層のうち、後ろの {layers} 層はグラフィックスカード {device}、残りはプロセッサーで計算しています。",
    ),
    "steps-cpu-tip": (
        "The steps of this training run on the processor.",
        "学習の各ステップはプロセッサーで計算しています。",
    ),
    "note-train-device": ("{said}", "{said}"),
    "note-train-device-changed": (
        "This training ran on {before} until now and goes on on {now}: the last digits of its result will differ from those of a run without a break.",
        "この学習はここまで「{before}」で動き、ここからは「{now}」で続けます。中断せずに動かした場合とは、結果の最後の桁が異なります。",
    ),
    "ran-on-cpu": ("the processor", "プロセッサー"),
    "ran-on-card": (
        "{device} ({layers} of {all_layers} layers that learn{head}{more})",
        "{device}（学習する {all_layers} 層のうち {layers} 層{head}{more}）",
    ),
    "ran-on-head": (" and the head", "と出力層"),
    "ran-on-before": (", {before} of those before them", "、その手前の {before} 層"),
    "set-device": ("Device", "計算に使うデバイス"),
    "set-device-tip": (
        "What chats and the steps of a training run on. Automatic: a graphics card where one works and has room, layer by layer, else the processor. Applies to the next model that is opened and the next training that is started; conversion runs on the processor.",
        "会話と学習の計算に使うデバイスです。「自動」では、使えるグラフィックスカードがあれば入る層だけを載せ、残りをプロセッサーで動かします。次に開くモデルと、次に始める学習から使われます。変換はプロセッサーで行います。",
    ),
    "set-device-auto": ("Automatic (usual)", "自動（標準）"),
    "set-device-cpu": ("Processor", "プロセッサー"),
    "set-device-card": ("{name} ({memory})", "{name}（{memory}）"),
    "set-device-gone": ("Graphics card {number} (not there now)", "グラフィックスカード {number}（今はありません）"),
    "pc-gpu-used": (
        "{name}, {total} ({free} free now): will be used. {fits}",
        "{name}、{total}（現在の空き {free}）: 使います。{fits}",
    ),
    "pc-gpu-off": (
        "{name}, {total}: not used, because the settings say so.",
        "{name}、{total}: 設定により使いません。",
    ),
    "gpu-fits": (
        "A model of {size} fits on it whole at about 3 bits or more; of larger ones, as many layers as fit.",
        "{size} のモデルなら 3 ビットほどで全体が入ります。もっと大きいモデルは、入る層だけを載せます。",
    ),
    "gpu-fits-none": (
        "Only some layers of a model fit on it.",
        "モデルの一部の層だけを載せます。",
    ),
}  # fmt: skip
