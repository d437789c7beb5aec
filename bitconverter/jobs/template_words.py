"""What LoadChatJob.template may be beside the path of a file: the model's own template, or a well-known format."""

from bitconverter.model.template_names import KNOWN, OWN

OWN_TEMPLATE, TEMPLATES = OWN, tuple(KNOWN)
