"""Words and looks: the report's Jinja2 templates and style sheets, and study files to start from."""
