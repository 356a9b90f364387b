"""How what a call costs grows with what is stored (`python -m bench.growth`)."""
