# ruff: noqa: E501 - sentences are kept in one piece
"""The list of jobs, and the strip at the bottom of the window."""

from bitconverter.gui.texts.text import Texts

TEXTS: Texts = {
    "page-activity": ("Activity", "作業"),
    "activity-title": ("Activity", "作業の一覧"),
    "activity-subtitle": ("Everything that runs, waits or has ended since the program was started.", "起動してからの、実行中・待機中・終わった作業です。"),
    "activity-empty": ("Nothing runs. Conversions and checks appear here.", "実行中の作業はありません。変換や検証を始めると、ここに並びます。"),
    "pause-all": ("Pause all", "すべて一時停止"),
    "clear-finished": ("Clear what has ended", "終わったものを消す"),
    "awake-held": ("This PC stays awake while the job runs.", "作業中はスリープしません。"),
    "work-convert": ("Converting {name}", "{name} を変換"),
    "work-took": ("Done in {time}", "完了（{time}）"),
    "work-is-waiting": ("Waiting", "待機中"),
    "work-is-paused": ("Paused", "一時停止中"),
    "work-is-stopped": ("Stopped. What is finished is kept.", "停止しました。終わった分は残っています。"),
    "work-is-failed": ("Failed", "失敗しました"),
    "memory-in-use": ("Memory in use", "メモリーの使用量"),
    "memory-line": ("{used} of {total} RAM", "メモリー {used} / {total}"),
    "finished-sleep": ("All done. The PC goes to sleep in {seconds} s.", "すべて終わりました。{seconds}秒後にスリープします。"),
    "finished-shutdown": ("All done. The PC turns off in {seconds} s.", "すべて終わりました。{seconds}秒後に電源を切ります。"),
}  # fmt: skip
