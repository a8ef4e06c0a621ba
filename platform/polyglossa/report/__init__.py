"""Stage `report`: the family's results as data, as a table and as one self-contained page."""
