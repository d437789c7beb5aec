"""PDF files for tests."""

import base64
import zlib

from bitconverter.jobs.self_test_documents import pdf_of


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text on each page."""
    parts = [b"<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    parts.append(f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode())
    parts.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for i, text in enumerate(pages):
        line = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode()
        parts.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents {5 + 2 * i} 0 R"
            "/Resources<</Font<</F1 3 0 R>>>>>>".encode()
        )
        parts.append(b"<</Length %d>>stream\n%s\nendstream" % (len(line), line))
    return pdf_of(parts)


def locked_pdf() -> bytes:
    """pdf("secret"), encrypted with a password (RC4, 128 bits) by pypdf's PdfWriter.encrypt()."""
    return zlib.decompress(base64.b64decode(_LOCKED))


_LOCKED = """
eNqNU79v00AUHpHuL2C8JSPcT9/ZUpQhTaIiQK0SYEEdznfPwSjYlX1BLUz9H1hZEUuVsQMbcxEIEDOiE+Kf4OykaSQzcLYl3/e+973vnt71Dk
eTO+yuQL1fV5+/IYYpLtPnqN9H5NHpMWCyZ7xZlHNEDs0caswDYYoGAwSFa4i8k9DyELmfuxo/xaLh4yNE9spl4THbSRX/TG0KVRCo60rkIbjc
DMuToEXDoyjFcfhaxcIHYo3lmjmFulxWNphsFCchuv5hOLo2vX439eVO/QdQzP0zLHQTr30F5gX6+l1dvfk9Hl0Obp2vRquzP5evhz9XH398Oa
oubr8fvf3w7tM+bcQ2/I1s1DlWYwWR2TL17bYBGSJDU0NrkuzD4iX43Jodc2pH5Qnm4XRYbG0yHoc2YckTmSjNkxCe5AsPFSYzbwpnKofIAe5L
GqdCpzZj3JlYC6czHkuaCcvShGlDuUgUc+CkjZmSTsQgFSQqikApraMBIo9x3xitU24laGO5YynjYUkOzAoubSOZZhIiCIQoNjIIURr2KssyQx
mNd3t+UkGGKNaIbhcO5USEM7zFWGhhGyluMCU7GOOig/GIdTAh4g4WOnOD+crkC6jaXs/yVxDskWlZhmldD9a9URi+fiI4N2CAcyqcolqy2Foh
hZZRaqWjg/+hhLEdF7Y6PfZYXQ9l7U3l28YoHu5hb3wwQX8Bxwj4jA==
"""
