"""Safety: one pipeline that every text passes, in and out, whatever route it takes."""
