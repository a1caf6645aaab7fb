"""Where other libraries take an optimizer."""
