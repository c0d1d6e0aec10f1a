"""Label maps and line masks, equal to the official tools' to the pixel."""
