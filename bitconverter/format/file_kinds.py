"""What a file is by the ending of its name, in small letters: what a lesson can be made of, and what goes along with a
message."""

TEXTS = (".txt", ".md", ".markdown")
PDF, WORD = ".pdf", ".docx"
DOCUMENTS = (PDF, WORD)  # whoever reads such a file finds its text (jobs/read_document.py)
TABLES = (".csv", ".tsv")
ROWS = (".jsonl", ".json", *TABLES)
LESSONS = (*TEXTS, *DOCUMENTS, *ROWS)
ATTACHED = (*TEXTS, *DOCUMENTS, ".log")
