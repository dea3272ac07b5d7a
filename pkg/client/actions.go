package client

import (
	"context"
	"iter"

	"github.com/bundt/bundt/pkg/api/bundttypes"
)

// BuildImage starts to bake an AMI from an uploaded recipe.
func (c *Client) BuildImage(ctx context.Context, in *bundttypes.BuildImageInput) (*bundttypes.BuildImageOutput, error) {
	return call[bundttypes.BuildImageOutput](ctx, c, "BuildImage", in)
}

// DescribeBuilds returns builds with their steps.
func (c *Client) DescribeBuilds(ctx context.Context, in *bundttypes.DescribeBuildsInput) (*bundttypes.DescribeBuildsOutput, error) {
	return call[bundttypes.DescribeBuildsOutput](ctx, c, "DescribeBuilds", in)
}

// WatchBuild yields a build now and after each change, until it is available or
// failed. A last pair with an error ends it early.
func (c *Client) WatchBuild(ctx context.Context, in *bundttypes.WatchBuildInput) iter.Seq2[*bundttypes.Build, error] {
	return Stream[bundttypes.Build](ctx, c, "WatchBuild", in)
}

// DescribeLineage returns what came from what.
func (c *Client) DescribeLineage(ctx context.Context, in *bundttypes.DescribeLineageInput) (*bundttypes.DescribeLineageOutput, error) {
	return call[bundttypes.DescribeLineageOutput](ctx, c, "DescribeLineage", in)
}

// DescribeHost returns facts about the daemon's host and checks of what it needs.
func (c *Client) DescribeHost(ctx context.Context, in *bundttypes.DescribeHostInput) (*bundttypes.DescribeHostOutput, error) {
	return call[bundttypes.DescribeHostOutput](ctx, c, "DescribeHost", in)
}

// DescribeInventory returns everything that bundt has on the daemon's host.
func (c *Client) DescribeInventory(ctx context.Context, in *bundttypes.DescribeInventoryInput) (*bundttypes.DescribeInventoryOutput, error) {
	return call[bundttypes.DescribeInventoryOutput](ctx, c, "DescribeInventory", in)
}

// DescribeInstanceDetails returns what EC2's instances have no place for.
func (c *Client) DescribeInstanceDetails(ctx context.Context, in *bundttypes.DescribeInstanceDetailsInput) (*bundttypes.DescribeInstanceDetailsOutput, error) {
	return call[bundttypes.DescribeInstanceDetailsOutput](ctx, c, "DescribeInstanceDetails", in)
}

// GetImageLock returns the lock file of an image that was baked of packages.
func (c *Client) GetImageLock(ctx context.Context, in *bundttypes.GetImageLockInput) (*bundttypes.GetImageLockOutput, error) {
	return call[bundttypes.GetImageLockOutput](ctx, c, "GetImageLock", in)
}

// GetImageSbom lists what is in an image, as an SPDX document.
func (c *Client) GetImageSbom(ctx context.Context, in *bundttypes.GetImageSbomInput) (*bundttypes.GetImageSbomOutput, error) {
	return call[bundttypes.GetImageSbomOutput](ctx, c, "GetImageSbom", in)
}

// GetImageProvenance says how an image was made, as a signed in-toto statement.
func (c *Client) GetImageProvenance(ctx context.Context, in *bundttypes.GetImageProvenanceInput) (*bundttypes.GetImageProvenanceOutput, error) {
	return call[bundttypes.GetImageProvenanceOutput](ctx, c, "GetImageProvenance", in)
}

// CheckVolumes reads layers and tells which are damaged, and what depends on them.
func (c *Client) CheckVolumes(ctx context.Context, in *bundttypes.CheckVolumesInput) (*bundttypes.CheckVolumesOutput, error) {
	return call[bundttypes.CheckVolumesOutput](ctx, c, "CheckVolumes", in)
}

// ModifySnapshotRetention says how long deleted snapshots stay in the recycle bin.
func (c *Client) ModifySnapshotRetention(ctx context.Context, in *bundttypes.ModifySnapshotRetentionInput) (*bundttypes.SnapshotRetention, error) {
	return call[bundttypes.SnapshotRetention](ctx, c, "ModifySnapshotRetention", in)
}

// DescribeSnapshotRetention tells how long deleted snapshots stay in the recycle bin.
func (c *Client) DescribeSnapshotRetention(ctx context.Context, in *bundttypes.DescribeSnapshotRetentionInput) (*bundttypes.SnapshotRetention, error) {
	return call[bundttypes.SnapshotRetention](ctx, c, "DescribeSnapshotRetention", in)
}

// GetImageHistory lists the layers of an image's root disk, and what each came from.
func (c *Client) GetImageHistory(ctx context.Context, in *bundttypes.GetImageHistoryInput) (*bundttypes.GetImageHistoryOutput, error) {
	return call[bundttypes.GetImageHistoryOutput](ctx, c, "GetImageHistory", in)
}

// DiffImages tells what differs between the root file systems of two images or
// snapshots.
func (c *Client) DiffImages(ctx context.Context, in *bundttypes.DiffImagesInput) (*bundttypes.DiffImagesOutput, error) {
	return call[bundttypes.DiffImagesOutput](ctx, c, "DiffImages", in)
}

// GetNetworkTrace tells what becomes of a packet, place by place.
func (c *Client) GetNetworkTrace(ctx context.Context, in *bundttypes.GetNetworkTraceInput) (*bundttypes.GetNetworkTraceOutput, error) {
	return call[bundttypes.GetNetworkTraceOutput](ctx, c, "GetNetworkTrace", in)
}

// GetInstanceDiagnosis tells why an instance's port is reached, or not, layer by layer.
func (c *Client) GetInstanceDiagnosis(ctx context.Context, in *bundttypes.GetInstanceDiagnosisInput) (*bundttypes.GetInstanceDiagnosisOutput, error) {
	return call[bundttypes.GetInstanceDiagnosisOutput](ctx, c, "GetInstanceDiagnosis", in)
}

// ModifyImageRetention says how long deregistered images stay in the recycle bin.
func (c *Client) ModifyImageRetention(ctx context.Context, in *bundttypes.ModifyImageRetentionInput) (*bundttypes.ImageRetention, error) {
	return call[bundttypes.ImageRetention](ctx, c, "ModifyImageRetention", in)
}

// DescribeImageRetention returns how long deregistered images stay in the recycle bin.
func (c *Client) DescribeImageRetention(ctx context.Context, in *bundttypes.DescribeImageRetentionInput) (*bundttypes.ImageRetention, error) {
	return call[bundttypes.ImageRetention](ctx, c, "DescribeImageRetention", in)
}

// DescribeEndpoint returns how AWS's clients reach the cloud.
func (c *Client) DescribeEndpoint(ctx context.Context, in *bundttypes.DescribeEndpointInput) (*bundttypes.DescribeEndpointOutput, error) {
	return call[bundttypes.DescribeEndpointOutput](ctx, c, "DescribeEndpoint", in)
}

// CreateAccount makes an account and its first access key.
func (c *Client) CreateAccount(ctx context.Context, in *bundttypes.CreateAccountInput) (*bundttypes.CreateAccountOutput, error) {
	return call[bundttypes.CreateAccountOutput](ctx, c, "CreateAccount", in)
}

// DescribeAccounts returns the accounts of the cloud; to others than the admin
// account their own.
func (c *Client) DescribeAccounts(ctx context.Context, in *bundttypes.DescribeAccountsInput) (*bundttypes.DescribeAccountsOutput, error) {
	return call[bundttypes.DescribeAccountsOutput](ctx, c, "DescribeAccounts", in)
}

// DeleteAccount deletes an account that owns nothing.
func (c *Client) DeleteAccount(ctx context.Context, in *bundttypes.DeleteAccountInput) (*bundttypes.DeleteAccountOutput, error) {
	return call[bundttypes.DeleteAccountOutput](ctx, c, "DeleteAccount", in)
}

// ModifyAccountQuotas bounds what an account may have.
func (c *Client) ModifyAccountQuotas(ctx context.Context, in *bundttypes.ModifyAccountQuotasInput) (*bundttypes.ModifyAccountQuotasOutput, error) {
	return call[bundttypes.ModifyAccountQuotasOutput](ctx, c, "ModifyAccountQuotas", in)
}

// GetInstanceIdentityCertificate returns the certificate of instances' identity documents.
func (c *Client) GetInstanceIdentityCertificate(ctx context.Context, in *bundttypes.GetInstanceIdentityCertificateInput) (*bundttypes.GetInstanceIdentityCertificateOutput, error) {
	return call[bundttypes.GetInstanceIdentityCertificateOutput](ctx, c, "GetInstanceIdentityCertificate", in)
}

// PushImage starts to send an image to a registry.
func (c *Client) PushImage(ctx context.Context, in *bundttypes.PushImageInput) (*bundttypes.PushImageOutput, error) {
	return call[bundttypes.PushImageOutput](ctx, c, "PushImage", in)
}

// AdoptDomain starts to make an image of a machine that bundt did not make.
func (c *Client) AdoptDomain(ctx context.Context, in *bundttypes.AdoptDomainInput) (*bundttypes.AdoptDomainOutput, error) {
	return call[bundttypes.AdoptDomainOutput](ctx, c, "AdoptDomain", in)
}

// PullImage starts to make an image of what a registry has.
func (c *Client) PullImage(ctx context.Context, in *bundttypes.PullImageInput) (*bundttypes.PullImageOutput, error) {
	return call[bundttypes.PullImageOutput](ctx, c, "PullImage", in)
}

// DescribeRegistryTasks returns the tasks with registries.
func (c *Client) DescribeRegistryTasks(ctx context.Context, in *bundttypes.DescribeRegistryTasksInput) (*bundttypes.DescribeRegistryTasksOutput, error) {
	return call[bundttypes.DescribeRegistryTasksOutput](ctx, c, "DescribeRegistryTasks", in)
}

// CancelRegistryTask ends a task with a registry.
func (c *Client) CancelRegistryTask(ctx context.Context, in *bundttypes.CancelRegistryTaskInput) (*bundttypes.CancelRegistryTaskOutput, error) {
	return call[bundttypes.CancelRegistryTaskOutput](ctx, c, "CancelRegistryTask", in)
}

// GetImageSigningKey returns the public key of what the account signs.
func (c *Client) GetImageSigningKey(ctx context.Context, in *bundttypes.GetImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
	return call[bundttypes.ImageSigningKey](ctx, c, "GetImageSigningKey", in)
}

// ImportImageSigningKey has the account sign images with another key.
func (c *Client) ImportImageSigningKey(ctx context.Context, in *bundttypes.ImportImageSigningKeyInput) (*bundttypes.ImageSigningKey, error) {
	return call[bundttypes.ImageSigningKey](ctx, c, "ImportImageSigningKey", in)
}

// TrustKey has the account trust what a key signs.
func (c *Client) TrustKey(ctx context.Context, in *bundttypes.TrustKeyInput) (*bundttypes.TrustKeyOutput, error) {
	return call[bundttypes.TrustKeyOutput](ctx, c, "TrustKey", in)
}

// DistrustKey has the account trust a key no more.
func (c *Client) DistrustKey(ctx context.Context, in *bundttypes.DistrustKeyInput) (*bundttypes.DistrustKeyOutput, error) {
	return call[bundttypes.DistrustKeyOutput](ctx, c, "DistrustKey", in)
}

// DescribeTrustedKeys returns the keys that the account trusts.
func (c *Client) DescribeTrustedKeys(ctx context.Context, in *bundttypes.DescribeTrustedKeysInput) (*bundttypes.DescribeTrustedKeysOutput, error) {
	return call[bundttypes.DescribeTrustedKeysOutput](ctx, c, "DescribeTrustedKeys", in)
}

// AddPublisher has the cloud show what a publisher offers.
func (c *Client) AddPublisher(ctx context.Context, in *bundttypes.AddPublisherInput) (*bundttypes.AddPublisherOutput, error) {
	return call[bundttypes.AddPublisherOutput](ctx, c, "AddPublisher", in)
}

// RefreshPublisher has a publisher's index looked at now.
func (c *Client) RefreshPublisher(ctx context.Context, in *bundttypes.RefreshPublisherInput) (*bundttypes.RefreshPublisherOutput, error) {
	return call[bundttypes.RefreshPublisherOutput](ctx, c, "RefreshPublisher", in)
}

// RemovePublisher has the cloud show a publisher's products no more.
func (c *Client) RemovePublisher(ctx context.Context, in *bundttypes.RemovePublisherInput) (*bundttypes.RemovePublisherOutput, error) {
	return call[bundttypes.RemovePublisherOutput](ctx, c, "RemovePublisher", in)
}

// DescribePublishers returns the publishers.
func (c *Client) DescribePublishers(ctx context.Context, in *bundttypes.DescribePublishersInput) (*bundttypes.DescribePublishersOutput, error) {
	return call[bundttypes.DescribePublishersOutput](ctx, c, "DescribePublishers", in)
}

// SubscribeToProduct accepts a product's terms.
func (c *Client) SubscribeToProduct(ctx context.Context, in *bundttypes.SubscribeToProductInput) (*bundttypes.SubscribeToProductOutput, error) {
	return call[bundttypes.SubscribeToProductOutput](ctx, c, "SubscribeToProduct", in)
}

// UnsubscribeFromProduct ends a subscription.
func (c *Client) UnsubscribeFromProduct(ctx context.Context, in *bundttypes.UnsubscribeFromProductInput) (*bundttypes.UnsubscribeFromProductOutput, error) {
	return call[bundttypes.UnsubscribeFromProductOutput](ctx, c, "UnsubscribeFromProduct", in)
}

// PullProductImage has a product's image be here.
func (c *Client) PullProductImage(ctx context.Context, in *bundttypes.PullProductImageInput) (*bundttypes.PullProductImageOutput, error) {
	return call[bundttypes.PullProductImageOutput](ctx, c, "PullProductImage", in)
}

// SignIndex signs an index of products.
func (c *Client) SignIndex(ctx context.Context, in *bundttypes.SignIndexInput) (*bundttypes.SignIndexOutput, error) {
	return call[bundttypes.SignIndexOutput](ctx, c, "SignIndex", in)
}

// DescribeProducts returns what the publishers offer.
func (c *Client) DescribeProducts(ctx context.Context, in *bundttypes.DescribeProductsInput) (*bundttypes.DescribeProductsOutput, error) {
	return call[bundttypes.DescribeProductsOutput](ctx, c, "DescribeProducts", in)
}

// CancelBuild gives a build up.
func (c *Client) CancelBuild(ctx context.Context, in *bundttypes.CancelBuildInput) (*bundttypes.CancelBuildOutput, error) {
	return call[bundttypes.CancelBuildOutput](ctx, c, "CancelBuild", in)
}

// GetBuildLog returns what a step of a build has printed.
func (c *Client) GetBuildLog(ctx context.Context, in *bundttypes.GetBuildLogInput) (*bundttypes.GetBuildLogOutput, error) {
	return call[bundttypes.GetBuildLogOutput](ctx, c, "GetBuildLog", in)
}

// PreviewLan says what AttachLan would do.
func (c *Client) PreviewLan(ctx context.Context, in *bundttypes.PreviewLanInput) (*bundttypes.PreviewLanOutput, error) {
	return call[bundttypes.PreviewLanOutput](ctx, c, "PreviewLan", in)
}

// AttachLan has addresses on an interface of the host, on trial.
func (c *Client) AttachLan(ctx context.Context, in *bundttypes.AttachLanInput) (*bundttypes.AttachLanOutput, error) {
	return call[bundttypes.AttachLanOutput](ctx, c, "AttachLan", in)
}

// ConfirmLan keeps what is on trial.
func (c *Client) ConfirmLan(ctx context.Context, in *bundttypes.ConfirmLanInput) (*bundttypes.ConfirmLanOutput, error) {
	return call[bundttypes.ConfirmLanOutput](ctx, c, "ConfirmLan", in)
}

// DetachLan takes the addresses from an interface.
func (c *Client) DetachLan(ctx context.Context, in *bundttypes.DetachLanInput) (*bundttypes.DetachLanOutput, error) {
	return call[bundttypes.DetachLanOutput](ctx, c, "DetachLan", in)
}

// DescribeLans returns the attachments.
func (c *Client) DescribeLans(ctx context.Context, in *bundttypes.DescribeLansInput) (*bundttypes.DescribeLansOutput, error) {
	return call[bundttypes.DescribeLansOutput](ctx, c, "DescribeLans", in)
}

// DescribeBuildCache returns what builds of the account may go on from.
func (c *Client) DescribeBuildCache(ctx context.Context, in *bundttypes.DescribeBuildCacheInput) (*bundttypes.DescribeBuildCacheOutput, error) {
	return call[bundttypes.DescribeBuildCacheOutput](ctx, c, "DescribeBuildCache", in)
}

// ClearBuildCache has the next builds run all steps.
func (c *Client) ClearBuildCache(ctx context.Context, in *bundttypes.ClearBuildCacheInput) (*bundttypes.ClearBuildCacheOutput, error) {
	return call[bundttypes.ClearBuildCacheOutput](ctx, c, "ClearBuildCache", in)
}

// CreateImagePipeline makes a pipeline, which builds images of one recipe.
func (c *Client) CreateImagePipeline(ctx context.Context, in *bundttypes.CreateImagePipelineInput) (*bundttypes.CreateImagePipelineOutput, error) {
	return call[bundttypes.CreateImagePipelineOutput](ctx, c, "CreateImagePipeline", in)
}

// UpdateImagePipeline changes a pipeline.
func (c *Client) UpdateImagePipeline(ctx context.Context, in *bundttypes.UpdateImagePipelineInput) (*bundttypes.UpdateImagePipelineOutput, error) {
	return call[bundttypes.UpdateImagePipelineOutput](ctx, c, "UpdateImagePipeline", in)
}

// DeleteImagePipeline removes a pipeline, and none of its images.
func (c *Client) DeleteImagePipeline(ctx context.Context, in *bundttypes.DeleteImagePipelineInput) (*bundttypes.DeleteImagePipelineOutput, error) {
	return call[bundttypes.DeleteImagePipelineOutput](ctx, c, "DeleteImagePipeline", in)
}

// DescribeImagePipelines returns pipelines.
func (c *Client) DescribeImagePipelines(ctx context.Context, in *bundttypes.DescribeImagePipelinesInput) (*bundttypes.DescribeImagePipelinesOutput, error) {
	return call[bundttypes.DescribeImagePipelinesOutput](ctx, c, "DescribeImagePipelines", in)
}

// StartImagePipelineExecution has a pipeline run now.
func (c *Client) StartImagePipelineExecution(ctx context.Context, in *bundttypes.StartImagePipelineExecutionInput) (*bundttypes.StartImagePipelineExecutionOutput, error) {
	return call[bundttypes.StartImagePipelineExecutionOutput](ctx, c, "StartImagePipelineExecution", in)
}

// DescribeImagePipelineExecutions returns runs of pipelines.
func (c *Client) DescribeImagePipelineExecutions(ctx context.Context, in *bundttypes.DescribeImagePipelineExecutionsInput) (*bundttypes.DescribeImagePipelineExecutionsOutput, error) {
	return call[bundttypes.DescribeImagePipelineExecutionsOutput](ctx, c, "DescribeImagePipelineExecutions", in)
}

// RetryImageDistribution has what failed of a run's distribution be tried again.
func (c *Client) RetryImageDistribution(ctx context.Context, in *bundttypes.RetryImageDistributionInput) (*bundttypes.RetryImageDistributionOutput, error) {
	return call[bundttypes.RetryImageDistributionOutput](ctx, c, "RetryImageDistribution", in)
}

// CreateConsoleLink makes a link by which the caller signs in to the web console.
func (c *Client) CreateConsoleLink(ctx context.Context, in *bundttypes.CreateConsoleLinkInput) (*bundttypes.CreateConsoleLinkOutput, error) {
	return call[bundttypes.CreateConsoleLinkOutput](ctx, c, "CreateConsoleLink", in)
}
