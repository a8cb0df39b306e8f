"""The shell's pages: who sees what, in which language, and what stands in their headers."""
