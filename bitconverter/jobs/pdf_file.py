"""The pages of a PDF, by Google's PDFium: it knows the encodings of Japanese fonts that tell no Unicode.

The library may be in one thread at a time, so each call of it holds a lock, and nothing is left to be closed by the
garbage collector, which runs in any.

What it needs of memory cannot be limited or asked beforehand: a file of some kilobytes whose forms show one another can
take all there is. It runs in this process, so that ends the program.
"""

import threading

import pypdfium2
import pypdfium2.raw

_ONE_AT_A_TIME = threading.Lock()


class PdfFile:
    """Opened from its bytes. Raises PermissionError where it wants a password, and what the library raises."""

    def __init__(self, data: bytes) -> None:
        with _ONE_AT_A_TIME:
            try:
                self._document = pypdfium2.PdfDocument(data)
            except pypdfium2.PdfiumError as error:
                if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
                    raise PermissionError(str(error)) from error
                raise
            self.pages = len(self._document)

    def text(self, number: int) -> str:
        """Of a page, as the library finds it: lines end with \\r\\n, and \\x02 stands for a hyphen at a line's end."""
        with _ONE_AT_A_TIME:
            page = self._document[number]
            try:
                text = page.get_textpage()
                try:
                    return str(text.get_text_bounded(errors="replace"))
                finally:
                    text.close()
            finally:
                page.close()

    def close(self) -> None:
        with _ONE_AT_A_TIME:
            self._document.close()
