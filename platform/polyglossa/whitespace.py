"""White space, defined once, as Unicode and Python have it: for folding, near copies, n-grams and blank cells.

In RE2 (Arrow's regular expressions) the class of white space is ASCII's: rules that compare texts use these instead.
"""

WHITESPACE = "\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Inside of a character class: exactly what `str.isspace` holds for."""
SEPARATORS = "\x0b\x0c\x1c-\x1f\x85\u2028\u2029"
"""Inside of a character class: what separates words, lines or pages and is no tab, line end or space."""
