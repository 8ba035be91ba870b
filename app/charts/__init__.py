"""Charts: functions of their data, which know no Streamlit."""
