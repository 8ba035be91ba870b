"""The browser workbench: everything that knows Streamlit."""
