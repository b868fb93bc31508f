"""What the browser loads: markup, styles and modules. Data only."""
