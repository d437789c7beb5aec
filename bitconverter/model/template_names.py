"""The well-known chat formats by name. Nothing heavy is imported here: menus show these before a model is opened."""

OWN = ""  # the model's own template
# name -> the tokens that its format cannot do without (the others use the model's own end token, or plain letters)
KNOWN: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama-3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "llama-2": (),
    "mistral": ("[INST]", "[/INST]"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "zephyr": (),
    "alpaca": (),
    "plain": (),
}
