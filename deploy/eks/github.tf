# The role that a build in GitHub Actions takes to push images (docs/github-actions.md), for pull requests of one repository.

locals {
  github_issuer = "token.actions.githubusercontent.com"
  push_role     = var.github_repository == null ? 0 : 1
}

# An account has at most one provider for an issuer. So it is not made here, where another's could be in the way.
data "aws_iam_openid_connect_provider" "github" {
  count = local.push_role

  url = "https://${local.github_issuer}"
}

resource "aws_iam_role" "push" {
  count = local.push_role

  name                 = "${var.name}-github-push"
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = one(data.aws_iam_openid_connect_provider.github).arn }
      Condition = {
        StringEquals = {
          "${local.github_issuer}:aud" = "sts.amazonaws.com"
          "${local.github_issuer}:sub" = "repo:${var.github_repository}:pull_request"
        }
      }
    }]
  })

  lifecycle {
    precondition {
      condition     = var.image_repository_arn != null
      error_message = "With github_repository, image_repository_arn says where its builds may push."
    }
  }
}

resource "aws_iam_role_policy" "push" {
  count = local.push_role

  name = "push"
  role = one(aws_iam_role.push).name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage", # whether the tag is there
          "ecr:CompleteLayerUpload",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = [var.image_repository_arn]
      },
    ]
  })
}
