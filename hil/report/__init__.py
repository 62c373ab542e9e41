"""What a run leaves behind: Allure results, evidence of failures, a summary."""
