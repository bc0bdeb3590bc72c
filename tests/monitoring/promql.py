"""Which metrics a PromQL expression asks for."""

import re

_KEYWORDS = {"and", "or", "unless", "offset", "bool"}


def metrics_of(expression):
    """Their names. Takes every word that is not a function, a keyword, a label or a number."""
    rest = re.sub(r'"[^"]*"', "", expression)
    rest = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", rest)
    rest = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", rest)
    rest = re.sub(r"\boffset\s+\w+", "", rest)
    words = re.findall(r"(?<![\w:.])([A-Za-z_:][\w:]*)(\s*\()?", rest)
    return {word for word, call in words if not call and word not in _KEYWORDS}
