"""Colours that people with any colour vision can tell apart.

From the palette of M. Okabe and K. Ito, *Color Universal Design*, 2008. A colour is never the only
sign: a line style, a hatch or a sign goes with it.
"""

RIGHT = "#0072B2"  # blue
WRONG = "#D55E00"  # vermillion
QUERY = "#000000"
LEFT_OUT = "#767676"  # grey

RIGHT_SIGN = "✓"
WRONG_SIGN = "✗"

WRONG_HATCH = "////"
