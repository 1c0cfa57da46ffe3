"""What a sweep found: tables, figures, a page."""
